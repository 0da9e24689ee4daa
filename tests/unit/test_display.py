"How far an experiment is, where somebody looks at it and where nobody does"

import io
import sys

import pytest

from dialsum.commands.display import show_progress
from dialsum.pipeline.spec import StageSpec
from dialsum.runs.folders import new_run


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("output", [io.StringIO, Screen])
def test_a_terminal_shows_a_table_and_a_file_gets_lines(output, tmp_path, monkeypatch):
    run = new_run("small", {}, tmp_path)
    written = output()
    monkeypatch.setattr(sys, "stderr", written)
    with show_progress(run, [StageSpec(run, "train", "kobart")]) as say:
        say("a line of the executor")
    text = written.getvalue()
    assert ("a line of the executor" in text) == (output is io.StringIO)
    assert ("0 of 1 stages" in text) == (output is Screen)
