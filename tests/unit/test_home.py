"A home folder that cannot be written to, sockets that nobody else can have made, and who stopped an experiment"

import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest
from support.home import homeless  # noqa: F401

from dialsum.pipeline.failed_stage import record_failure
from dialsum.pipeline.kernel import make_sockets, remove_sockets
from dialsum.pipeline.ownership import leave, state, take, working_on
from dialsum.pipeline.spec import StageSpec
from dialsum.report.document import render
from dialsum.report.experiment import read_experiment
from dialsum.runs import places as runs
from dialsum.runs.error_facts import make_error
from dialsum.runs.errors import DialsumError
from dialsum.runs.folders import new_run
from dialsum.runs.leases import hold, part, release
from dialsum.runs.places import cache_path


def test_each_folder_has_its_place(homeless, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(homeless))
    spare = runs.spare_home()
    assert stat.S_IMODE(spare.stat().st_mode) == 0o700 and cache_path() == spare / ".cache" / "dialsum"
    assert runs.home_folders()["IPYTHONDIR"] == str(spare / ".ipython") and runs.home_folders()[
        "HF_HOME"
    ] == str(spare / ".cache" / "huggingface")
    monkeypatch.setenv("HF_HOME", "/sys/kernel")  # weights that came with the machine are read where they are
    monkeypatch.setenv("MPLCONFIGDIR", str(homeless / "own"))
    assert not {"HF_HOME", "MPLCONFIGDIR"} & set(runs.home_folders()) and not (homeless / "own").exists()
    monkeypatch.setenv("HOME", str(homeless))
    assert (
        runs.home_folders() == {}
        and cache_path() == homeless / ".cache" / "dialsum"
        and sorted(p.name for p in homeless.iterdir()) == [spare.name]
    )


def test_a_user_without_a_home_folder_has_one_among_the_temporary_files(homeless, monkeypatch):
    def nobody():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(tempfile, "tempdir", str(homeless))
    monkeypatch.setattr(Path, "home", nobody)  # a container's user who is in no list of users
    assert cache_path() == runs.spare_home() / ".cache" / "dialsum" and "IPYTHONDIR" in runs.home_folders()


def test_a_home_folder_that_one_may_not_even_look_into(homeless, monkeypatch):
    "As in a container without root, whose HOME is still that of root"
    top = Path(tempfile.mkdtemp(dir="/tmp"))
    top.chmod(0o755)
    (top / "locked" / "home").mkdir(parents=True)
    (top / "locked").chmod(0o700 if os.getuid() == 0 else 0)
    (top / "tmp").mkdir()
    (top / "tmp").chmod(0o1777)
    reader, writer = os.pipe()
    if not (child := os.fork()):  # another user, for whom nothing has to be imported any more
        try:
            if os.getuid() == 0:
                os.setuid(54321)
            os.environ["HOME"], tempfile.tempdir = str(top / "locked" / "home"), str(top / "tmp")
            found = f"{len(runs.home_folders())} {cache_path().is_relative_to(top / 'tmp')} {(top / 'tmp' / f'dialsum-home-{os.getuid()}').is_dir()}"
        except BaseException as e:
            found = repr(e)
        os.write(writer, found.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    (top / "locked").chmod(0o700)
    told = os.read(reader, 10000).decode()
    os.close(reader)
    shutil.rmtree(top, ignore_errors=True)
    assert told == "8 True True"


@pytest.mark.parametrize("how", ["open to all", "a link", "a file"])
def test_a_place_that_is_not_this_users_alone_is_refused(homeless, monkeypatch, how):
    monkeypatch.setattr(tempfile, "tempdir", str(homeless))
    there = homeless / f"dialsum-home-{os.getuid()}"
    if how == "a link":
        (homeless / "else").mkdir()
        there.symlink_to(homeless / "else")
    elif how == "a file":
        there.write_text("")
    else:
        there.mkdir()
        there.chmod(0o777)
    with pytest.raises(DialsumError, match="set HOME to a folder"):
        cache_path()


def test_sockets_lie_in_a_new_folder_of_this_user_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first, second = make_sockets(tmp_path / "run"), make_sockets(tmp_path / "run")
    assert first != second and {stat.S_IMODE(p.stat().st_mode) for p in (first, second)} == {0o700}
    others = make_sockets(tmp_path / "other")
    remove_sockets(tmp_path / "run", os.getpid())
    assert not first.exists() and not second.exists() and others.exists()


def test_a_long_path_of_temporary_files_gets_short_sockets(tmp_path, monkeypatch):
    long = tmp_path / ("d" * 60) / ("e" * 60)
    long.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    made = make_sockets(tmp_path / "run")
    assert len(f"{made}/kernel-5") <= 100 and not list(long.iterdir())
    remove_sockets(tmp_path / "run", "*")
    assert not made.exists()


def interrupted_run(folder):
    run = new_run("small", dict(models=["kobart"]), folder, stages=["data", "kobart/train"])
    take(run)
    spec = StageSpec(run, "train", "kobart")
    record_failure(
        spec,
        "2026-01-01T00:00:00.000+00:00",
        1,
        make_error("interrupted", "Interrupted", "stage_interrupted", dict(stage="kobart/train")),
    )
    return run


def test_what_somebody_stopped_is_called_interrupted(tmp_path, typed):
    run = interrupted_run(tmp_path)
    leave(run)
    assert state(run) == "interrupted"
    assert " interrupted " in typed("runs", "--runs", tmp_path).stdout
    text = render(read_experiment(run))
    assert "⚠️ **중단** · 모델 0/1" in text


def test_what_was_stopped_before_its_first_stage_is_called_interrupted(tmp_path):
    run = new_run("small", dict(models=["kobart"]), tmp_path, stages=["data", "kobart/train"])
    with pytest.raises(KeyboardInterrupt), working_on(run):
        raise KeyboardInterrupt
    assert state(run) == "interrupted"
    with pytest.raises(ValueError, match="anything"), working_on(run):
        raise ValueError("anything")
    assert state(run) == "ended"


def test_an_experiment_runs_while_one_of_its_jobs_does(tmp_path):
    run, job = new_run("mine", {}, tmp_path), part("job", "data")
    hold(run, job, "data")
    assert state(run) == "running"
    release(run, job)
    assert state(run) == "ended"
