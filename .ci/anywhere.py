"""Whether the tests pass anywhere: with other toys, on other processors, in another order, on a busy machine.

    python .ci/anywhere.py [--fresh] [PASS …]

Each pass runs the notebooks and tests of `make test`, of the tests those that train or write with a model (tests/models, tests/contract). What a pass ended with is kept in build/anywhere.json:
called again, it goes on with what is left, or begins anew where the code is another (or with --fresh).
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager

from suites import ROOT, environment, run_notebooks

KEPT = ROOT / "build" / "anywhere.json"
OLD_PROCESSOR = dict(
    ATEN_CPU_CAPABILITY="default",
    DNNL_MAX_CPU_ISA="SSE41",
    MKL_CBWR="COMPATIBLE",
    CT2_FORCE_CPU_ISA="GENERIC",
    OMP_NUM_THREADS="1",
)
OTHER_PROCESSOR = dict(
    ATEN_CPU_CAPABILITY="avx2", DNNL_MAX_CPU_ISA="AVX2", CT2_FORCE_CPU_ISA="AVX2", OMP_NUM_THREADS="2"
)
PASSES = {  # name → (environment, options of pytest)
    "seed 1": (dict(DIALSUM_REPLICA_SEED="1"), ()),
    "seed 2": (dict(DIALSUM_REPLICA_SEED="2"), ()),
    "seed 3, random order": (dict(DIALSUM_REPLICA_SEED="3"), ("--shuffle", "1")),
    "SSE4.1": (OLD_PROCESSOR, ()),
    "AVX2": (OTHER_PROCESSOR, ()),
    "busy machine": ({}, ()),
}


@contextmanager
def busy(loops: int):
    "Processes that do nothing but take a core each"
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()


def run_pass(name: str) -> dict:
    "One pass; returns its counts"
    more, options = PASSES[name]
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as cache,
        busy(os.cpu_count() if name == "busy machine" else 0),
    ):  # toys, and examples of them, are made anew
        env = environment() | dict(DIALSUM_CACHE=cache) | more
        passed, failed = run_notebooks(env)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "--numprocesses",
            "2",
            "--dist",
            "loadfile",
            "--no-loadscope-reorder",
            "tests/models",
            "tests/contract",
            *options,
        ]
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in process.stdout:
            print(line, end="", flush=True)
            if re.search(r"\d+ (passed|failed|error)", line):
                counts = line.strip()
        code = process.wait()
    return dict(
        ok=not code and not failed,
        notebooks=f"{len(passed)} passed, {len(failed)} failed",
        failed=failed,
        tests=counts,
        seconds=round(time.monotonic() - started),
    )


def state() -> str:
    "What the results are of: the commit, or the changes since"

    def ask(*words):
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout

    return ask("rev-parse", "HEAD").strip() + (" and changes" if ask("status", "--porcelain") else "")


def main(words: list[str]) -> int:
    wanted = [w for w in words if w != "--fresh"] or list(PASSES)
    if unknown := set(wanted) - set(PASSES):
        sys.exit(f"there is no pass {', '.join(sorted(unknown))}: take some of {', '.join(PASSES)}.")
    kept = json.loads(KEPT.read_text()) if KEPT.is_file() and "--fresh" not in words else {}
    if kept.get("state") != state():
        kept = dict(state=state(), passes={})
    for name in wanted:
        if kept["passes"].get(name, {}).get("ok"):
            continue
        print(f"\n===== {name}", flush=True)
        kept["passes"][name] = run_pass(name)
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps(kept, indent=1))
    for name, result in kept["passes"].items():
        print(
            f"{'ok    ' if result['ok'] else 'FAILED'} {name}: notebooks {result['notebooks']}; tests {result['tests']}; {result['seconds']} s",
            *result["failed"],
        )
    return not all(result["ok"] for result in kept["passes"].values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
