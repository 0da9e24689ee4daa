"A folder that is written whole: the old one or the new one, whatever happens while it is filled"

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dialsum.runs.files import folder_written_whole


def contents(folder):
    return {p.name: p.read_text() for p in folder.iterdir()}


def write(folder, text, **options):
    with folder_written_whole(folder, **options) as fresh:
        for name in ("config.json", "model.safetensors"):
            (fresh / name).write_text(text)


def write_half(folder, error):
    with folder_written_whole(folder) as fresh:
        (fresh / "config.json").write_text("new")
        raise error


def test_a_folder_has_its_name_only_when_it_is_whole(tmp_path):
    folder = tmp_path / "deep" / "model"
    with folder_written_whole(folder) as fresh:
        (fresh / "config.json").write_text("new")
        assert not folder.exists()
        assert fresh.parent == folder.parent  # the same disk: renamed, not copied
    assert contents(folder) == {"config.json": "new"}
    assert list(folder.parent.iterdir()) == [folder]


def test_it_takes_the_place_of_the_one_before(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("old")
    write(folder, "new")
    assert contents(folder) == {"config.json": "new", "model.safetensors": "new"}
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_one_before_and_nothing_else(tmp_path, error):
    folder = tmp_path / "model"
    write(folder, "old")
    with pytest.raises(type(error)):
        write_half(folder, error)
    assert contents(folder) == {"config.json": "old", "model.safetensors": "old"}
    assert list(tmp_path.iterdir()) == [folder]


def test_a_disk_that_refuses_the_last_step_leaves_the_one_before(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    write(folder, "old")
    rename, refusals = Path.rename, [OSError(30, "Read-only file system")]

    def rename_but_once(path, target):
        if target == folder and refusals:
            raise refusals.pop()
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_but_once)
    with pytest.raises(OSError, match="Read-only"):
        write(folder, "new")
    assert contents(folder) == {"config.json": "old", "model.safetensors": "old"}
    assert list(tmp_path.iterdir()) == [folder]


def test_where_all_write_the_same_the_first_stays(tmp_path):
    folder = tmp_path / "replica"
    with folder_written_whole(folder, replace=False) as fresh:
        (fresh / "config.json").write_text("second")
        write(folder, "first", replace=False)
    assert contents(folder) == {"config.json": "first", "model.safetensors": "first"}
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "model").write_text("a file")
    with pytest.raises(OSError, match="model"):
        write(tmp_path / "model", "new")
    assert contents(tmp_path) == {"model": "a file"}


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from dialsum.runs import files

folder, moment = Path(sys.argv[1]), sys.argv[2]
kill = lambda *arguments, **options: os.kill(os.getpid(), signal.SIGKILL)
if moment == "flushing":
    files.os.fsync = kill
if moment == "removing":
    shutil.rmtree = kill
with files.folder_written_whole(folder) as fresh:
    (fresh / "config.json").write_text("new")
    if moment == "writing":
        kill()
    (fresh / "model.safetensors").write_text("new")
"""


@pytest.mark.parametrize(
    ("moment", "text"), [("writing", "old"), ("flushing", "old"), ("removing", "new"), ("never", "new")]
)
def test_a_kill_leaves_one_of_the_two_whole(tmp_path, moment, text):
    folder = tmp_path / "model"
    write(folder, "old")
    call = [sys.executable, "-c", KILLED, str(folder), moment]
    code = subprocess.run(call, env=os.environ).returncode
    assert code == (0 if moment == "never" else -signal.SIGKILL)
    assert contents(folder) == {"config.json": text, "model.safetensors": text}
    others = [p.name for p in tmp_path.iterdir() if p != folder]
    assert all(name.startswith(".model.") and name.endswith(".tmp") for name in others)  # swept by a resume
