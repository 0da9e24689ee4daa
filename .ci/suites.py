"""Both suites, one after the other: `nbdev_test` runs the notebooks, then pytest the tests. Each one's counts are printed at the end; either one's failure is a failure.

    python .ci/suites.py [--slow] [options of pytest]

With --slow: only what takes minutes by its nature, notebooks and tests, which CI leaves out.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
SLOWEST = 15  # notebooks whose seconds are told
SLOW_FOLDER = "bench"  # whose notebooks run with --slow only; and these of nbs/explore
SLOW_NOTEBOOKS = ("add_a_model", "compare_two_runs", "read_one_bad_summary", "replay_a_failure")
FAILED = "nbdev Tests Failed On The Following Notebooks:"


def environment() -> dict:
    "Two tests at a time: threads of their own that wait by spinning would make both eight times slower"
    own = dict(OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS="1", PATH=f"{BIN}:{os.environ['PATH']}")
    return dict(own, **{name: value for name, value in os.environ.items() if name != "PATH"})


def is_slow(name: str) -> bool:
    "Whether a notebook, by its path below nbs, runs with --slow only"
    return Path(name).parts[0] == SLOW_FOLDER or Path(name).stem in SLOW_NOTEBOOKS


def selections(slow: bool) -> list[list[str]]:
    "Options of `nbdev_test` by which it runs the slow notebooks or the others, one list a call"
    names = rf"^({'|'.join(SLOW_NOTEBOOKS)})\.ipynb$"
    if slow:
        return [["--path", f"nbs/{SLOW_FOLDER}"], ["--path", "nbs/explore", "--file_re", names]]
    return [["--skip_folder_re", f"^[_.]|^{SLOW_FOLDER}$", "--skip_file_re", f"^[_.]|{names}"]]


def told_in(line: str) -> list[tuple[str, str]]:
    "What a line says of notebooks: (Starting or - Completed, path); two workers may have written into one line"
    return re.findall(r"(Starting|- Completed) (/.+?\.ipynb)", line)


def printed(commands: list[list[str]], env: dict) -> Iterator[str | None]:
    "What commands print, line by line, printed here, too; None after a command that failed"
    for command in commands:
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in process.stdout:
            print(line, end="", flush=True)
            yield line
        if process.wait():
            yield None


def run_notebooks(env: dict, slow: bool = False, workers: int = 2) -> tuple[list[str], list[str]]:
    "Run the notebooks, or the slow ones; returns the names of those that ended well and of those that did not"
    every = [p for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts]
    notebooks = {name for p in every if is_slow(name := str(p.relative_to(ROOT / "nbs"))) == slow}
    command = [str(BIN / "nbdev_test"), "--n_workers", str(workers), "--do_print", "--timing"]
    completed, failed, in_list, crashed = set(), set(), False, False
    began, seconds = {}, {}
    for line in printed([[*command, *options] for options in selections(slow)], env):
        if line is None:
            crashed, in_list = True, False
            continue
        words = line.strip()
        for what, path in told_in(line):
            if what == "Starting":
                began[path] = time.monotonic()
                continue
            name = str(Path(path).relative_to(ROOT / "nbs"))
            completed.add(name)
            seconds[name] = time.monotonic() - began.get(path, time.monotonic())
        if in_list and words.endswith(".ipynb"):  # a name without its folder
            failed |= {n for n in notebooks if n.split("/")[-1] == words} or {words}
        in_list = in_list or words == FAILED
    failed |= notebooks - completed  # one that was never begun has not passed
    if crashed and not failed:
        failed = {"nbdev_test itself"}
    slowest = sorted(seconds, key=seconds.get, reverse=True)[:SLOWEST]
    print("slowest notebooks:", *(f"{seconds[name]:6.1f} s  {name}" for name in slowest), sep="\n")
    return sorted(completed - failed), sorted(failed)


def run_tests(env: dict, *options: str) -> int:
    "Run pytest with two workers; returns its exit code"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "suites",
        "--numprocesses",
        "2",
        "--dist",
        "loadfile",
        "--no-loadscope-reorder",
        *options,
    ]
    paths = [str(Path(__file__).parent), *filter(None, [env.get("PYTHONPATH")])]
    return subprocess.run(command, cwd=ROOT, env=env | dict(PYTHONPATH=":".join(paths))).returncode


def pytest_terminal_summary(terminalreporter):
    "Called by pytest at its end: the notebooks' counts stand above its own"
    if told := os.environ.get("DIALSUM_NOTEBOOKS"):
        terminalreporter.write_line(f"nbdev_test: {told}")


def main(options: list[str]) -> int:
    slow = "--slow" in options
    env, started = environment(), time.monotonic()
    passed, failed = run_notebooks(env, slow)
    seconds = time.monotonic() - started
    told = f"{len(passed)} notebooks passed, {len(failed)} failed in {seconds:.0f} s"
    if failed:
        told += f" ({', '.join(failed)})"
    which = ["-m", "slow and not real_data"] if slow else []
    others = [option for option in options if option != "--slow"]
    code = run_tests(env | dict(DIALSUM_NOTEBOOKS=told), *which, *others)
    return code or bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
