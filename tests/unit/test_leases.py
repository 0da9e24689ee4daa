"One writer a folder, on whichever machine: takeovers, signs of life, and who is told what"

import errno
import io
import json
import os
import shutil
import threading
import time
from types import SimpleNamespace

import pytest

from dialsum.commands.listing import runs_table
from dialsum.pipeline import ownership, process
from dialsum.pipeline.ownership import leave, state, take, worker
from dialsum.runs import leases
from dialsum.runs.errors import DialsumError
from dialsum.runs.folders import new_run
from dialsum.runs.leases import LIMIT, Machine, hold, holder, part, release
from dialsum.runs.stage import Stage


@pytest.fixture(autouse=True)
def own_heart(monkeypatch):
    "A process that holds nothing else; nobody waits for a second look"
    monkeypatch.setattr(leases, "_heart", leases._Heart())
    monkeypatch.setattr(leases, "SECOND_LOOK", 0.05)


@pytest.fixture
def elsewhere(monkeypatch):
    "A function that takes a folder as a process on another machine does"

    def taken(folder, name="", work="an experiment", host="node7"):
        with monkeypatch.context() as there:
            there.setattr(leases, "this_machine", lambda: Machine(host, "its own start", "pid:[1]"))
            lease = leases._taken(folder, name, work)
        assert isinstance(lease, leases._Lease), lease
        return lease.path

    return taken


def touched(path, seconds):  # so long ago, by the clock of the folder
    moment = leases._clock_of(path.parent) - seconds
    os.utime(path, times=(moment, moment))


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def left_by_a_dead_process(folder):
    "A lease of this machine whose process id is another process's by now"
    lease = leases._taken(folder, "", "an experiment")
    content = json.loads(lease.path.read_text())
    lease.path.write_text(json.dumps(content | dict(start=content["start"] + 1)))


def test_of_twenty_contenders_for_a_stale_lease_one_wins(tmp_path):
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        left_by_a_dead_process(folder)
        barrier, outcomes = threading.Barrier(20), []

        def contend(folder=folder, barrier=barrier, outcomes=outcomes):
            barrier.wait()
            outcomes.append(leases._taken(folder, "", "an experiment"))

        threads = [threading.Thread(target=contend) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners = [outcome for outcome in outcomes if isinstance(outcome, leases._Lease)]
        assert len(outcomes) == 20 and [w.path.name for w in winners] == [".lease.2"]
        assert names(folder) == [".lease.2"] and holder(folder).token == winners[0].token


def test_who_looked_before_a_takeover_withdraws(tmp_path, elsewhere, monkeypatch):
    first = elsewhere(tmp_path)
    first.rename(tmp_path / ".lease.7")
    look, looks = leases._leases, []

    def late(folder, accepts):
        looks.append(folder)
        return look(folder, accepts) if len(looks) > 1 else []  # as it was before all that

    monkeypatch.setattr(leases, "_leases", late)
    outcome = leases._taken(tmp_path, "", "another experiment")
    assert isinstance(outcome, leases.Holder) and outcome.host == "node7" and len(looks) > 1
    assert names(tmp_path) == [".lease.7"]


def test_a_holder_elsewhere_is_believed_by_the_clock_of_the_folder(tmp_path, elsewhere, monkeypatch):
    lease, right = elsewhere(tmp_path), time.time
    for error in (-3600, 0, 3600):  # of this machine's clock, in seconds
        monkeypatch.setattr(time, "time", lambda error=error: right() + error)
        touched(lease, LIMIT - 1)
        assert holder(tmp_path).host == "node7" and LIMIT - 1 <= holder(tmp_path).silence < LIMIT
        touched(lease, LIMIT + 1)
        assert holder(tmp_path) is None
    assert names(tmp_path) == [".lease.1"]  # nothing stays of the looks at a clock, and asking takes nothing


def test_where_nothing_can_be_written_this_machines_clock_is_asked(tmp_path, elsewhere, monkeypatch):
    lease = elsewhere(tmp_path)
    touched(lease, LIMIT - 1)

    def refused(*given, **how):
        raise PermissionError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(leases.os, "open", refused)
    assert holder(tmp_path).host == "node7"
    with pytest.raises(DialsumError, match="cannot write to the folder .* \\(Read-only file system\\)"):
        hold(tmp_path, "another part")
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + 3600)
    assert holder(tmp_path) is None


def test_a_second_look_before_a_takeover(tmp_path, elsewhere, monkeypatch):
    "A clock that jumps makes a living holder look dead until its next sign of life"
    lease = elsewhere(tmp_path)
    touched(lease, 3600)
    with monkeypatch.context() as jumping:
        jumping.setattr(leases.time, "sleep", lambda seconds: os.utime(lease))
        with pytest.raises(DialsumError, match="node7"):
            hold(tmp_path)
    touched(lease, 3600)
    assert hold(tmp_path) and names(tmp_path) == [".lease.2"]
    release(tmp_path)
    assert names(tmp_path) == []


def test_one_that_may_be_back_is_told_when_to_try_again(tmp_path, elsewhere):
    touched(elsewhere(tmp_path), 12)
    with pytest.raises(DialsumError) as refusal:
        hold(tmp_path)
    said = str(refusal.value)
    assert f"another process ({os.getpid()} on node7, since " in said
    assert "last sign of life 12 s ago" in said and "if that machine is gone, try again in 18 s" in said


def test_a_lease_that_is_being_written_is_judged_by_its_age(tmp_path):
    (tmp_path / ".lease.3").touch()
    with pytest.raises(DialsumError, match="^another process is writing to"):
        hold(tmp_path)
    touched(tmp_path / ".lease.3", LIMIT + 1)
    assert hold(tmp_path) and names(tmp_path) == [".lease.4"]
    release(tmp_path)


def test_containers_with_one_host_name_are_two_places(tmp_path, monkeypatch):
    "Where a process id is somebody else's, it says nothing"
    here = leases.this_machine()
    with monkeypatch.context() as there:
        there.setattr(leases, "this_machine", lambda: here._replace(pids="pid:[1]"))
        there.setattr(leases, "_process", lambda pid: leases._Process("S", 7))
        lease = leases._taken(tmp_path, "", "an experiment").path
    assert holder(tmp_path).elsewhere and holder(tmp_path).host == here.host
    touched(lease, LIMIT + 1)
    assert holder(tmp_path) is None


def test_what_is_held_twice_is_released_once(tmp_path):
    assert hold(tmp_path, work="first") and not hold(tmp_path, work="second")
    assert holder(tmp_path).work == "first" and not holder(tmp_path).elsewhere
    release(tmp_path)
    release(tmp_path)
    assert holder(tmp_path) is None and names(tmp_path) == []


def test_a_lost_lease_is_noticed_and_stays_lost(tmp_path, elsewhere):
    hold(tmp_path)
    (tmp_path / ".lease.1").unlink()
    elsewhere(tmp_path)  # under the same number, after all others were given back
    leases._heart.leases[tmp_path, ""].beat()
    with pytest.raises(DialsumError, match="does not belong to this process any more"):
        hold(tmp_path)
    release(tmp_path)  # takes nothing from the other
    assert holder(tmp_path).host == "node7"


def test_whoever_loses_a_lease_is_called(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "BEAT", 0.02)
    lost = threading.Event()
    hold(tmp_path, on_loss=lost.set)
    lease = tmp_path / ".lease.1"
    os.utime(lease, times=(0, 0))
    for _ in range(500):
        if lease.stat().st_mtime:
            break
        time.sleep(0.02)
    assert lease.stat().st_mtime and not lost.is_set()  # signs of life
    lease.unlink()
    assert lost.wait(10)
    release(tmp_path)


def test_a_copy_is_no_lease_and_a_renamed_folder_keeps_its_own(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    hold(run)
    shutil.copytree(run, tmp_path / "copied")
    assert holder(tmp_path / "copied") is None and hold(tmp_path / "copied")
    run.rename(tmp_path / "renamed")
    assert holder(tmp_path / "renamed").pid == os.getpid()
    leases._heart.end()


def test_on_a_full_disk_one_goes_on_without(tmp_path, monkeypatch):
    def full(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(leases.os, "write", full)
        assert not hold(tmp_path)
    assert names(tmp_path) == []


def test_asking_about_a_run_of_this_process_does_not_end_it(tmp_path):
    run = new_run("small", {}, tmp_path)
    take(run)
    assert state(run) == "running" == state(run) and worker(run).pid == os.getpid()
    leave(run)
    assert state(run) == "ended" and not list(run.glob(".lease*"))


def test_a_run_on_another_machine_is_running_until_its_lease_is_stale(tmp_path, elsewhere, typed):
    run = new_run("small", {}, tmp_path)
    take(run)
    leases._heart.leases.pop((run, "")).path.unlink()  # as if another machine had opened the experiment
    lease = elsewhere(run, work=run.name)
    [row] = runs_table(tmp_path)
    assert row["state"] == "running" and row["worker"]["host"] == "node7" and row["worker"]["elsewhere"]
    shown = typed("runs", "--runs", tmp_path).stdout
    assert f"on node7 (process {os.getpid()}, since {row['worker']['since']})" in " ".join(shown.split())
    assert json.loads(typed("runs", "--runs", tmp_path, "--json").stdout)[0]["worker"] == row["worker"]
    touched(lease, LIMIT + 1)
    [row] = runs_table(tmp_path)
    assert row["state"] == "interrupted" and row["worker"] is None
    assert "node7" not in typed("runs", "--runs", tmp_path).stdout


def test_a_run_on_this_machine_is_not_said_to_be_elsewhere(tmp_path, typed):
    run = new_run("small", {}, tmp_path)
    take(run)
    [row] = runs_table(tmp_path)
    assert row["worker"]["process"] == os.getpid() and not row["worker"]["elsewhere"]
    assert " on " not in typed("runs", "--runs", tmp_path).stdout
    leave(run)


def test_a_stage_of_a_job_without_a_driver_is_work_on_its_run(tmp_path, elsewhere):
    run = new_run("small", {}, tmp_path)
    elsewhere(run, part("stage", "kobart/fold1/train"), "kobart/fold1/train")
    assert state(run) == "running" and worker(run).work == "kobart/fold1/train"


def test_an_experiment_waits_for_the_stages_of_an_earlier_one(tmp_path, elsewhere, monkeypatch):
    run = new_run("small", {}, tmp_path)
    lease = elsewhere(run, part("stage", "kobart/train"), "kobart/train")
    with pytest.raises(DialsumError, match="on node7, since .*, for kobart/train; .*is writing to"):
        take(run, patience=0.1)
    assert holder(run) is None
    slept = []

    def until_it_ends(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            lease.unlink()

    monkeypatch.setattr(ownership, "time", SimpleNamespace(sleep=until_it_ends, monotonic=time.monotonic))
    take(run)
    assert holder(run).pid == os.getpid() and len(slept) == 3
    leave(run)


def test_what_others_remove_meanwhile_keeps_nobody_from_an_experiment(tmp_path, monkeypatch):
    run = new_run("small", {}, tmp_path)
    probe = run / ".lease.0123.tmp"  # of somebody who asks for the folder's clock
    monkeypatch.setattr(type(run), "rglob", lambda folder, pattern: iter([probe]))
    take(run)
    assert holder(run).pid == os.getpid()
    leave(run)


@pytest.mark.parametrize(("end", "module"), [(ownership._end, ownership), (process._taken_over, process)])
def test_whoever_lost_a_lease_ends_also_where_it_cannot_say_so(end, module, tmp_path, monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    ended = []
    monkeypatch.setattr(module.os, "_exit", ended.append)
    monkeypatch.setattr("sys.stderr", Gone())
    monkeypatch.setattr("sys.stdout", Gone())
    end(tmp_path)
    assert ended == [1]


def test_an_experiment_does_not_wait_for_a_stage_that_somebody_runs_by_hand(tmp_path, elsewhere, monkeypatch):
    run = new_run("small", {}, tmp_path)
    elsewhere(run, part("hand", "kobart"), "kobart/train")
    no_wait = SimpleNamespace(sleep=lambda seconds: pytest.fail("it waits"), monotonic=time.monotonic)
    monkeypatch.setattr(ownership, "time", no_wait)
    with pytest.raises(DialsumError, match="for kobart/train"):
        take(run)
    assert holder(run) is None


def by_hand(run, stage, model=""):
    return Stage(stage, dict(run=str(run)), model).folder


@pytest.mark.parametrize(
    ("name", "work", "refused"),
    [
        ("", "the experiment", ["kobart", "qwen3-4b", ""]),
        ("hand.kobart", "kobart/train", ["kobart", ""]),
        ("stage.kobart_train", "kobart/train", ["kobart", ""]),
        ("stage.kobart_fold1_train", "kobart/fold1/train", [""]),
    ],
)
def test_two_writers_of_one_folder_refuse_each_other(name, work, refused, tmp_path, elsewhere):
    run = new_run("small", {}, tmp_path)
    there = elsewhere(run, name, work)
    for model in ("kobart", "qwen3-4b", ""):
        if model in refused:
            with pytest.raises(DialsumError, match="node7"):
                by_hand(run, "train", model)
        else:
            assert by_hand(run, "train", model) == run / model
            leases._heart.end()
        assert [p.name for p in run.glob(".lease*")] == [there.name]


def test_the_kernel_of_a_stage_keeps_no_other_stage_from_its_model(tmp_path, monkeypatch):
    run = new_run("small", {}, tmp_path)
    monkeypatch.setenv("DIALSUM_RUN", str(run))
    assert by_hand(run, "train", "kobart") == run / "kobart"
    assert [h.work for h in leases.holders(run, "kernel")] == ["kobart/train"]
    assert state(run) == "ended"  # it works under its stage's lease, which is what says that somebody works
    monkeypatch.setattr(leases, "_heart", leases._Heart())  # another process
    with pytest.raises(DialsumError, match="for kobart/train"):
        take(run, patience=0.1)
