"A home folder that cannot be written to, sockets that nobody else can have made, and who stopped an experiment"

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from support.home import UNWRITABLE, homeless  # noqa: F401

from dialsum.pipeline import process
from dialsum.pipeline.process import _look, run_stage
from dialsum.pipeline.spec import StageSpec
from dialsum.runs.errors import DialsumError
from dialsum.runs.facts import read_facts
from dialsum.runs.folders import new_run


def test_stages_run_where_the_home_folder_cannot_be_written_to(homeless, call):
    places = dict(
        HOME=str(UNWRITABLE),
        TMPDIR=str(homeless),
        DIALSUM_CACHE="",
        IPYTHONDIR="",
        MPLCONFIGDIR="",
        HF_HOME="",
    )
    done = call(
        sys.executable,
        "-P",
        "-c",
        "import sys; from dialsum.cli import main; sys.exit(main())",
        "stage",
        "data",
        "-p",
        "debug",
        "true",
        "--runs",
        homeless / "runs",
        **places,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [run] = (homeless / "runs").iterdir()
    assert [f.status for f in read_facts(run)] == ["success"]
    assert [p.name for p in homeless.glob("dialsum-*")] == [f"dialsum-home-{os.getuid()}"]


def test_nowhere_to_write_is_one_sentence(homeless, call):
    (homeless / f"dialsum-home-{os.getuid()}").write_text("somebody else was here")
    ask = "import sys; from dialsum.cli import main; sys.exit(main())"
    done = call(
        sys.executable,
        "-P",
        "-c",
        ask,
        "runs",
        "--runs",
        homeless,
        HOME=str(UNWRITABLE),
        TMPDIR=str(homeless),
        DIALSUM_CACHE="",
    )
    assert (
        done.returncode == 2
        and done.stderr.startswith("dialsum: the home folder cannot be written to")
        and len(done.stderr.strip().splitlines()) == 1
    )


def test_a_cache_that_was_named_and_cannot_be_written_to_is_one_sentence(monkeypatch):
    from dialsum.models.cards import card
    from dialsum.models.replicas import replica

    monkeypatch.setenv("DIALSUM_CACHE", "/sys/dialsum")
    with pytest.raises(DialsumError, match="cannot write to the folder '/sys/dialsum'"):
        replica(card("kobart"))


@pytest.mark.slow
def test_a_stage_takes_no_folder_that_was_there_and_leaves_none(tmp_path, monkeypatch):
    short = Path(tempfile.mkdtemp(dir="/tmp", prefix="t"))
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    monkeypatch.setenv("TMPDIR", str(short))
    run, seen = new_run("small", {}, tmp_path / "runs"), []
    begun = _look

    def look(pid, tree):  # what the stage's process has made so far
        seen.extend(p for p in short.glob("dialsum-*") if p not in seen)
        begun(pid, tree)

    monkeypatch.setattr(process, "_look", look)
    assert run_stage(StageSpec(run, "data", "", dict(debug=True))).status == "success"
    assert seen and all(len(p.name.rpartition("-")[2]) == 8 for p in seen), (
        seen
    )  # a part that nobody can guess
    assert not list(short.glob("dialsum-*"))
    shutil.rmtree(short)
