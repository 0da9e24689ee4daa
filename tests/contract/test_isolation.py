"A stage that ends in whatever way leaves its fact, its notebook, and nothing else"

import json
import sys

import psutil
import pytest

from dialsum.runs.error_facts import error_sentence
from dialsum.runs.facts import read_fact

PROBE = {
    "raise": ("raise RuntimeError('boom')", "failed", "exception", "boom"),
    "exit": ("import sys; sys.exit(3)", "failed", "exception", "3"),
    "quiet exit": ("import sys; sys.exit(0)", "failed", "died", "without writing its facts"),
    "segfault": ("import ctypes; ctypes.string_at(0)", "failed", "died", "kernel died"),
    "killed": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "failed", "died", "kernel died"),
    "hang": (
        'import subprocess, time; subprocess.Popen(["sleep", "500"]); time.sleep(500)',
        "failed",
        "timeout",
        "its limit of 8 s",
    ),
    "chatty": ("for i in range(100): print('x'*10**6)", "success", None, None),
}


@pytest.fixture(scope="module")
def probe(checkout):
    "One more stage in the copy, whose middle cell does what a test wants"

    def stage(code):
        def cell(source, **metadata):
            return dict(
                cell_type="code",
                metadata=metadata,
                source=source,
                outputs=[],
                execution_count=None,
                id=f"c{len(source)}",
            )

        cells = [
            cell("run: str = ''  # run folder\nseed: int = 1  # of nothing", tags=["parameters"]),
            cell("from dialsum.runs.stage import begin\nstage = begin('probe', globals())"),
            cell(code),
            cell("fact = stage.record(dict(done=True))"),
        ]
        (checkout / "nbs" / "probe.ipynb").write_text(
            json.dumps(
                dict(
                    cells=cells,
                    metadata=dict(kernelspec=dict(name="python3", display_name="x", language="python")),
                    nbformat=4,
                    nbformat_minor=5,
                )
            )
        )

    yield stage
    (checkout / "nbs" / "probe.ipynb").unlink(missing_ok=True)


@pytest.mark.parametrize("how", PROBE)
def test_however_a_stage_ends_its_fact_tells(how, probe, call, tmp_path):
    code, status, kind, words = PROBE[how]
    probe(code)
    command = (
        "import sys\nfrom pathlib import Path\nfrom dialsum.pipeline.spec import StageSpec; from dialsum.pipeline.executor import leave, take; from dialsum.pipeline.process import run_stage\nfrom dialsum.runs.folders import new_run\n"
        'run = new_run("probe", {}, Path(sys.argv[1]))\ntake(run)\nrun_stage(StageSpec(run, "probe"), timeout=float(sys.argv[2]))\nleave(run)'
    )
    done = call(sys.executable, "-P", "-c", command, tmp_path, 8 if how == "hang" else 600)
    assert done.returncode == 0, done.stderr
    [run] = tmp_path.iterdir()
    fact, notebook = (
        read_fact(run / "probe.json"),
        json.loads((run / "probe.ipynb").read_text(encoding="utf-8")),
    )
    assert fact.status == status, fact
    if kind:
        assert fact.error.kind == kind and words in error_sentence(fact.error), fact.error
        assert (
            "".join(notebook["cells"][0]["source"]).startswith("**This stage did not succeed**")
            and (run / fact.error.traceback).is_file()
        )
    else:
        assert (
            "cut here" in json.dumps(notebook)
            and (run / "probe.ipynb").stat().st_size < 3e6
            and (run / "probe.log").stat().st_size < 3e6
        )
    assert not [
        p
        for p in psutil.process_iter(["cmdline"])
        if p.info["cmdline"] == ["sleep", "500"] or str(tmp_path) in " ".join(p.info["cmdline"] or [])
    ]
    assert {p.name for p in run.iterdir()} <= {
        "experiment.json",
        "events.jsonl",
        "probe.json",
        "probe.ipynb",
        "probe.log",
        "errors",
        ".lock",
    }


def test_a_clock_that_is_set_back():
    from dialsum.pipeline.status import progress

    events = [
        dict(time="2026-01-01T10:00:00.000+00:00", event="open"),
        dict(time="2026-01-01T10:00:01.000+00:00", event="start", stage="train", model="kobart"),
        dict(
            time="2026-01-01T09:00:00.000+00:00",
            event="beat",
            stage="train",
            model="kobart",
            done=1,
            total=4,
            left=3.0,
        ),
    ]
    p = progress(events, ["kobart/train"], "2026-01-01T09:00:05.000+00:00")["kobart/train"]
    assert (p.state, p.share, p.seconds, p.seconds_left) == ("running", 0.25, 0, 3.0)


def test_an_event_after_a_torn_line_is_not_lost(tmp_path):
    from dialsum.runs.events import log_event, read_events

    log_event(tmp_path, "open", pid=1)
    with open(tmp_path / "events.jsonl", "a") as f:
        f.write('{"event": "be')  # the power went
    log_event(tmp_path, "fact", file="a.json", sha256="x")
    assert [e["event"] for e in read_events(tmp_path)] == ["open", "fact"]
