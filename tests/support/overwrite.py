"What the tests of overwrite share"

import os

import pytest

ROWS = "fname,dialogue\nt_0,#Person1#: 안녕하세요.\n"


@pytest.fixture
def rows(tmp_path, monkeypatch):
    "A user's only copy of some dialogues, under several names, in the working folder"
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "rows.csv"
    path.write_text(ROWS, encoding="utf-8")
    (tmp_path / "link.csv").symlink_to(path)
    os.link(path, tmp_path / "second_name.csv")
    return path


def refused(done, *words):
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "written over" in done.stderr or "writes anew" in done.stderr, done.stderr
    assert all(w in done.stderr for w in words), done.stderr
