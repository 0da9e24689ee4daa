"A job of somebody else's scheduler"

import inspect
import os

import pytest
from support.executors import succeed

from dialsum.pipeline import done, jobs, process
from dialsum.pipeline.executor import FOLDER_LAG
from dialsum.pipeline.jobs import JobLost, run_job
from dialsum.pipeline.ray_executor import RayExecutor
from dialsum.pipeline.spec import StageSpec
from dialsum.runs import leases
from dialsum.runs.folders import new_run
from dialsum.runs.leases import LIMIT, SECOND_LOOK, Machine, part


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


class Clock:
    "Seconds that pass when somebody sleeps, for what is to grow older with them, too"

    def __init__(self):
        self.now, self.growing_older = 0.0, []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        for path in self.growing_older:
            moment = path.stat().st_mtime - seconds
            os.utime(path, times=(moment, moment))


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(jobs, "time", clock)
    monkeypatch.setattr(leases, "SECOND_LOOK", 0)  # which a lease that is taken over waits for by itself
    return clock


def held_elsewhere(spec, monkeypatch):  # the lease of another machine
    with monkeypatch.context() as there:
        there.setattr(leases, "this_machine", lambda: Machine("node7", "its own start", "pid:[1]"))
        return leases._taken(spec.run, part("job", spec.key), spec.key).path


def test_a_job_waits_until_the_lease_of_a_machine_that_is_gone_has_ended(spec, clock, monkeypatch):
    clock.growing_older.append(held_elsewhere(spec, monkeypatch))
    assert run_job([spec], spec.key).succeeded
    assert LIMIT - 1 <= clock.now <= LIMIT + SECOND_LOOK


def test_a_job_whose_stage_runs_on_another_machine_gives_up_after_the_life_of_a_lease(
    spec, clock, monkeypatch
):
    held_elsewhere(spec, monkeypatch)  # its holder gives signs of life
    with pytest.raises(JobLost):
        run_job([spec], spec.key)
    assert LIMIT + SECOND_LOOK <= clock.now <= LIMIT + SECOND_LOOK + 1
    assert not spec.fact.exists()


def test_what_needs_a_stage_that_runs_elsewhere_is_blocked_only_when_that_machine_is_gone(
    spec, clock, monkeypatch
):
    train = StageSpec(spec.run, "train", "kobart", needs=(spec.key,))
    lease = held_elsewhere(spec, monkeypatch)
    with pytest.raises(JobLost):
        run_job([spec, train], train.key)
    assert clock.now >= FOLDER_LAG
    clock.growing_older.append(lease)
    assert run_job([spec, train], train.key).status == "blocked"


def test_a_fact_may_be_late_for_a_job_as_long_as_for_the_scheduler_of_a_cluster(spec, clock):
    assert inspect.signature(run_job).parameters["lag"].default == FOLDER_LAG == RayExecutor.patience
    train = StageSpec(spec.run, "train", "kobart", needs=(spec.key,))
    looks = []

    def late(seconds):
        looks.append(seconds)
        clock.now += seconds
        if clock.now >= FOLDER_LAG - 5:
            succeed(spec)

    clock.sleep = late
    assert run_job([spec, train], train.key).succeeded and looks
