"Every step of `make gpu`, with toys on a CPU"

import importlib.metadata
import json
import os
import subprocess
import sys

from support.places import ROOT

PUBLISHED = ROOT / "reports" / "benchmarks.md"


def python(*words):
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env=os.environ | dict(PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / ".ci")])),
        capture_output=True,
        text=True,
    )


def test_every_step_can_be_taken_and_what_a_toy_can_tell_holds(tmp_path):
    published = PUBLISHED.read_bytes()
    done = python(".ci/gpu.py", "--dry-run", "--out", tmp_path)
    content = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert done.returncode == 0 and content["failed"] == [], done.stdout + done.stderr
    rows = content["rows"]
    assert [row for row in rows if row["reached"] is False] == []
    held = {row["step"] for row in rows if row["reached"]}
    assert {"tests", "out-of-memory", "best-epoch", "two-stages", "qwen3-4b-qlora"} <= held
    ended = [row["step"] for row in rows if row["what"] == "time of the step"]
    named = python("-c", "import gpu; print(*(step.name for step in gpu.STEPS))").stdout.split()
    assert ended == named and len(named) > 8
    steps = python(".ci/gpu_steps.py", "--help").stdout
    assert all(name in steps for name in named)
    assert PUBLISHED.read_bytes() == published


def test_no_step_imports_what_is_not_carried_along():
    used = "gpu_steps, bitsandbytes, peft, mecab, dialsum.scores.rouge, dialsum.checks.dry_run"
    code = f"import sys, wheels, {used}; print(*wheels.UNUSED); print(*sys.modules)"
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    unused, modules = (line.split() for line in done.stdout.strip().splitlines()[-2:])
    homes = importlib.metadata.packages_distributions()
    imported = {name for module in {m.split(".")[0] for m in modules} for name in homes.get(module, [])}
    assert "pydantic" in imported and not {*unused} & imported
