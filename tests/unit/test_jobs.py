"A job of somebody else's scheduler"

import pytest
from support.executors import succeed

from dialsum.pipeline import done, process
from dialsum.pipeline.jobs import run_job
from dialsum.pipeline.spec import StageSpec
from dialsum.runs.folders import new_run


@pytest.fixture
def spec(tmp_path, monkeypatch):
    def attempt(spec, *_):
        succeed(spec)
        return spec.read_own()

    monkeypatch.setattr(process, "run_attempt", attempt)
    return StageSpec(new_run("jobs", {}, tmp_path), "data")


def test_a_job_finds_out_once_why_its_stage_has_to_run(spec, monkeypatch):
    looks, look = [], done._believed
    monkeypatch.setattr(done, "_believed", lambda *args: looks.append(1) or look(*args))
    assert run_job([spec], spec.key).succeeded and len(looks) == 1
    assert run_job([spec], spec.key).succeeded and len(looks) == 2


def test_a_job_says_why_its_stage_runs_again(spec):
    said = []
    run_job([spec], spec.key)
    spec.fact.write_text(spec.fact.read_text().replace('"success"', '"failed"'))
    assert run_job([spec], spec.key, say=said.append).succeeded
    [line] = said
    assert line.startswith("data runs again: ") and "set-aside" in line
