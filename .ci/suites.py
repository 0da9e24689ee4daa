"""Both suites, one after the other: `nbdev_test` runs every notebook, then pytest the tests. Each one's counts are printed at the end; either one's failure is a failure.

    python .ci/suites.py [--slow] [options of pytest]

With --slow: only the tests that take minutes by their nature, which CI leaves out.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
SLOWEST = 15  # notebooks whose seconds are told
FAILED = "nbdev Tests Failed On The Following Notebooks:"


def environment() -> dict:
    "Two tests at a time: threads of their own that wait by spinning would make both eight times slower"
    own = dict(OMP_WAIT_POLICY="PASSIVE", OMP_NUM_THREADS="1", PATH=f"{BIN}:{os.environ['PATH']}")
    return dict(own, **{name: value for name, value in os.environ.items() if name != "PATH"})


def told_in(line: str) -> list[tuple[str, str]]:
    "What a line says of notebooks: (Starting or - Completed, path); two workers may have written into one line"
    return re.findall(r"(Starting|- Completed) (/.+?\.ipynb)", line)


def run_notebooks(env: dict, workers: int = 2) -> tuple[list[str], list[str]]:
    "Run every notebook; returns the names of those that ended well and of those that did not"
    every = [p for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts]
    notebooks = {str(p.relative_to(ROOT / "nbs")) for p in every}
    command = [str(BIN / "nbdev_test"), "--n_workers", str(workers), "--do_print", "--timing"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    completed, failed, in_list = set(), set(), False
    began, seconds = {}, {}
    for line in process.stdout:
        print(line, end="", flush=True)
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
    if process.wait() and not failed:
        failed = notebooks - completed or {"nbdev_test itself"}
    failed |= notebooks - completed  # one that was never begun has not passed
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
    if "--slow" in options:
        return run_tests(
            environment(), "-m", "slow and not real_data", *(o for o in options if o != "--slow")
        )
    env, started = environment(), time.monotonic()
    passed, failed = run_notebooks(env)
    seconds = time.monotonic() - started
    told = f"{len(passed)} notebooks passed, {len(failed)} failed in {seconds:.0f} s"
    if failed:
        told += f" ({', '.join(failed)})"
    code = run_tests(env | dict(DIALSUM_NOTEBOOKS=told), *options)
    return code or bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
