"""What a GPU does with models of full size, in at most eight minutes: step after step in order of value, each in a process of its own, its rows told as they come.

    python .ci/gpu.py [--wheels FOLDER] [--out FOLDER] [--minutes N] [--only STEP …]    # on a machine with a GPU
    python .ci/gpu.py --dry-run    # the same steps with toys on a CPU: nothing is measured, nothing published

It needs torch, the repository, and the wheels of `make gpu-wheels` for what the machine lacks. Weights are random numbers made on the device. `gpu.json` and the section "On a GPU" of `benchmarks.md` in the output folder are written anew after each row, so that a run that was cut leaves what it had; those of an earlier run only from the first row on that tells of a model.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / "reports"
HEADING = "## On a GPU"
HEAD = "| step | what | measured | aim | reached |\n| --- | --- | --- | --- | :---: |"
MARK = "ROW "  # before a row that a step tells, among whatever else is printed
NOTHING = "–"
ABOUT = ("wheels", "card")  # steps that measure no model
UNMEASURED = ("failed", "stopped", "not begun")
INSTALLING = 120  # seconds
PATIENCE = 20  # times as long as on a GPU may a dry run take, on a busy machine


@dataclass(frozen=True)
class Step:
    "Something that is measured in a process of its own"

    name: str
    seconds: int  # that it may take


# in order of value
STEPS = (
    Step("card", 60),
    Step("qwen3-4b-lora", 110),
    Step("kobart-full", 80),
    Step("polyglot-qlora", 130),
    Step("qwen3-4b-qlora", 110),
    Step("qwen3-4b-static-cache", 120),
    Step("qwen3-4b-compiled", 120),
    Step("out-of-memory", 60),
    Step("best-epoch", 60),
    Step("two-stages", 60),
    Step("tests", 120),
    Step("qwen3-4b-continuous", 90),
    Step("qwen3-4b-speedups", 180),
)


@dataclass(frozen=True)
class Row:
    "One row of the table"

    step: str
    what: str
    measured: str
    aim: str = ""
    reached: bool | None = None  # None: there is no aim, or a toy cannot tell

    def markdown(self) -> str:
        mark = {None: NOTHING, True: "yes", False: "no"}[self.reached]
        cells = (self.step, self.what, self.measured, self.aim or NOTHING, mark)
        return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


@dataclass
class Table:
    "What was measured so far"

    device: str
    dry_run: bool
    out: Path | None  # a folder; None: nothing is written
    rows: list[Row] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  # names of steps

    def __post_init__(self) -> None:
        self.has_earlier = bool(self.out) and (self.out / "gpu.json").is_file()

    def add(self, row: Row) -> None:
        "Tell a row, and write all again; an earlier run's table is replaced when a model has been measured"
        if not self.rows:
            print(HEAD, flush=True)
        self.rows.append(row)
        print(row.markdown(), flush=True)
        if row.step == "card" and row.what == "card":
            self.device = row.measured
        if self.out and (not self.has_earlier or any(map(is_measured, self.rows))):
            self.write(self.out)

    def section(self) -> str:
        "Markdown, under its own heading"
        told = "A dry run with toys on a CPU, which measures nothing" if self.dry_run else self.device
        lines = [HEADING, "", f"{told}, {date.today()}. `make gpu` writes this section.", "", HEAD]
        return "\n".join([*lines, *(row.markdown() for row in self.rows)]) + "\n"

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        about = dict(device=self.device, date=str(date.today()), dry_run=self.dry_run, failed=self.failed)
        content = about | dict(rows=[asdict(row) for row in self.rows])
        text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
        (folder / "gpu.json").write_text(text, encoding="utf-8")
        table = folder / "benchmarks.md"
        source = table if table.is_file() else REPORTS / "benchmarks.md"
        before = split_section(source.read_text(encoding="utf-8"))[0]
        table.write_text(before.rstrip("\n") + "\n\n" + self.section(), encoding="utf-8")


def is_measured(row: Row) -> bool:
    return row.step not in ABOUT and row.what not in UNMEASURED


def split_section(text: str, heading: str = HEADING) -> tuple[str, str]:
    "(what stands before a heading, the rest from it on: empty where there is none)"
    start = text.find(f"{heading}\n")
    return (text, "") if start < 0 else (text[:start], text[start:])


def stop(process: subprocess.Popen) -> None:
    "End a step with all that it started"
    os.killpg(process.pid, signal.SIGKILL)


def rows_of(step: Step, command: list[str], env: dict, seconds: float) -> Iterator[Row]:
    "Run a step; its rows as it tells them, and one more where it fails or takes too long"
    started = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        timer = threading.Timer(seconds, stop, [process])
        timer.start()
        try:
            for line in process.stdout:
                if line.startswith(MARK):
                    yield Row(step=step.name, **json.loads(line.removeprefix(MARK)))
            code = process.wait()
            in_time = timer.is_alive()
        finally:  # also where somebody ends the whole run
            timer.cancel()
            if process.poll() is None:
                stop(process)
        if not in_time:
            yield Row(step.name, "stopped", f"after {seconds:.0f} s", "ends", False)
        elif code:
            yield Row(step.name, "failed", last_words(errors, code), "ends", False)
        else:
            yield Row(step.name, "time of the step", f"{time.monotonic() - started:.0f} s")


def last_words(errors, code: int) -> str:
    "The last line that a process wrote to its standard error: a traceback's is the error"
    errors.seek(0)
    lines = errors.read().strip().splitlines() or ["no message"]
    return f"exit code {code}: {lines[-1].strip()[:300]}"


def take(steps: list[Step], table: Table, deadline: float, env: dict, script: Path) -> None:
    "One step after the other, whatever became of the one before"
    for step in steps:
        left = deadline - time.monotonic()
        if left < 5:
            table.failed.append(step.name)
            table.add(Row(step.name, "not begun", "no time was left", "ends", False))
            continue
        command = [sys.executable, str(script), step.name, *(["--dry-run"] if table.dry_run else [])]
        limit = step.seconds * PATIENCE if table.dry_run else min(step.seconds, left)
        for row in rows_of(step, command, env, limit):
            if row.what in ("stopped", "failed"):
                table.failed.append(step.name)
            table.add(row)


def environment(site: Path | None, dry_run: bool) -> dict:
    "Of each step: the repository and the wheels come first, no hub is asked, and a dry run sees no GPU"
    paths = [str(ROOT)]
    if site:
        paths.append(str(site))
    if os.environ.get("PYTHONPATH"):
        paths.append(os.environ["PYTHONPATH"])
    settings = dict(PYTHONPATH=os.pathsep.join(paths), HF_HUB_OFFLINE="1")
    if dry_run:
        settings["CUDA_VISIBLE_DEVICES"] = ""
    return os.environ | settings


def install(wheels: Path, folder: Path, table: Table) -> Path:  # where they can be imported from
    "Unpack the wheels into a folder; nothing of the machine's own packages is changed. What fails is a row"
    from wheels import join_pieces, missing_files

    missing = missing_files(wheels)
    if missing:
        raise SystemExit(
            f"{wheels} lacks {', '.join(missing)}: `make gpu-wheels` collects them, copy all parts"
        )
    files = [str(path) for path in join_pieces(wheels, folder / "whole")]
    site = folder / "site"
    options = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--disable-pip-version-check"]
    options += ["--root-user-action", "ignore", "--target", str(site)]
    command = [sys.executable, "-m", "pip", "install", *options, *files]
    limit = INSTALLING * PATIENCE if table.dry_run else INSTALLING
    for row in rows_of(Step("wheels", limit), command, dict(os.environ), limit):
        if row.what in ("stopped", "failed"):
            table.failed.append(row.step)
        table.add(row)
    return site


def has_gpu() -> bool:
    "Whether torch sees one, asked in a process of its own"
    code = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return not subprocess.run([sys.executable, "-c", code], capture_output=True).returncode


def main(arguments: argparse.Namespace) -> int:
    started = time.monotonic()
    out = arguments.out
    if arguments.dry_run and out and out.resolve() == REPORTS:
        print("a dry run measures nothing that could be published: name another --out", file=sys.stderr)
        return 2
    if not arguments.dry_run:
        if not has_gpu():
            print("torch sees no GPU: --dry-run takes the same steps with toys", file=sys.stderr)
            return 2
        if arguments.only and (out or REPORTS).resolve() == REPORTS:
            print(
                "some steps would take the place of all that was measured: name another --out",
                file=sys.stderr,
            )
            return 2
        out = out or REPORTS
    steps = [step for step in STEPS if not arguments.only or step.name in (*arguments.only, "card")]
    table = Table("not named", arguments.dry_run, out)
    deadline = started + 60 * arguments.minutes * (PATIENCE if arguments.dry_run else 1)
    script = Path(__file__).with_name("gpu_steps.py")
    with tempfile.TemporaryDirectory(prefix="dialsum-wheels") as folder:
        site = install(arguments.wheels, Path(folder), table) if arguments.wheels else None
        take(steps, table, deadline, environment(site, arguments.dry_run), script)
    return 1 if table.failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parser = argparse.ArgumentParser(description="Measure on a GPU")
    parser.add_argument("--dry-run", action="store_true", help="toys, on a CPU")
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="from `make gpu-wheels`")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="gets gpu.json and benchmarks.md")
    parser.add_argument("--minutes", type=float, default=8, metavar="N", help="for all steps")
    parser.add_argument("--only", nargs="+", choices=[step.name for step in STEPS], metavar="STEP")
    sys.exit(main(parser.parse_args()))
