"Every step of `make gpu`, with toys on a CPU"

import importlib.metadata
import json
import os
import subprocess
import sys

from packaging.requirements import Requirement
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


def test_what_the_steps_import_is_carried_or_on_the_machine():
    code = (
        "import sys, gpu_steps, dialsum.scores.rouge, mecab; print(*{n.split('.')[0] for n in sys.modules})"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    homes = importlib.metadata.packages_distributions()
    distributions = {d for name in done.stdout.split() for d in homes.get(name, [])} - {"dialsum"}
    assert "bitsandbytes" in distributions and "pydantic" in distributions
    assert distributions <= on_the_machine(["torch", "transformers", *dialsum_needs()]), (
        distributions - on_the_machine(["torch", "transformers", *dialsum_needs()])
    )


def dialsum_needs():
    names = python("-c", "import wheels; print(*wheels.requirements(), sep='\\n')").stdout.splitlines()
    unused = python("-c", "import wheels; print(*wheels.UNUSED)").stdout.split()
    return [text for text in names if Requirement(text).name not in unused]


def on_the_machine(texts):
    "Distributions by the names that they give themselves: those named, and all that they need"
    found, waiting = {}, list(texts)
    while waiting:
        requirement = Requirement(waiting.pop())
        if requirement.marker and not requirement.marker.evaluate(dict(extra="")):
            continue
        try:
            distribution = importlib.metadata.distribution(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if distribution.name not in found:
            found[distribution.name] = True
            waiting += distribution.requires or []
    return set(found)
