"The lists of experiments and models, in the width of a terminal and where there is none"

import argparse
import io
import re
import sys

import pytest
from rich.cells import cell_len
from support.experiments import builder, two_of_four_broken
from support.screens import Screen

from dialsum.commands.layout import print_rows
from dialsum.commands.listing import list_models, list_runs
from dialsum.models.cards import CARDS

LONG = "my-own-llama-3.2-korean-bllossom-3b-instruct-of-november-adapted-to-our-calls-"
EXPERIMENTS = ["우리의-아주-긴-실험-이름-하나", "우리의-아주-긴-실험-이름-둘", f"{LONG}a", f"{LONG}b"]
WIDTHS = pytest.mark.parametrize("width", [60, 80])


@pytest.fixture
def written(monkeypatch):
    "A function: what a call writes to a terminal of so many columns, or to none"

    def written(call, width=None):
        output = Screen() if width else io.StringIO()
        monkeypatch.setenv("COLUMNS", str(width or 60))
        monkeypatch.setattr(sys, "stdout", output)
        call()
        return output.getvalue().splitlines()

    return written


@pytest.fixture
def runs(tmp_path):
    two_of_four_broken(builder(tmp_path))
    for name in EXPERIMENTS:
        builder(tmp_path)(name=f"20261122_010203_{name}", models=["kobart"])
    (tmp_path / "runs" / f"20261122_010203_{EXPERIMENTS[0]}" / "experiment.json").write_text("{")
    return argparse.Namespace(runs=tmp_path / "runs", json=False)


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


@WIDTHS
def test_the_list_of_models_fits_a_terminal(width, written):
    lines = written(lambda: list_models(argparse.Namespace(json=False)), width)
    assert all(cell_len(line) <= width for line in lines), lines
    text = squeezed("".join(lines))
    for card in CARDS.values():
        every = f"{card.checkpoint}{'also:' * bool(card.aliases)}{''.join(card.aliases)}"
        assert re.search(re.escape(card.name) + r"[^,]{4,12}?[\d,-]+" + re.escape(every), text), card.name


@WIDTHS
def test_the_list_of_experiments_fits_a_terminal(width, written, runs):
    lines = written(lambda: list_runs(runs), width)
    assert all(cell_len(line) <= width for line in lines), lines
    text = squeezed("".join(lines))
    for name in EXPERIMENTS:
        assert len(re.findall(f"{name}(broken|ended|unfinished|complete)", text)) == 1, name
    assert "24succeeded6failed15blockedbest:kobart" in text


def test_where_no_terminal_is_a_row_is_a_line(written, runs):
    lines = written(lambda: list_runs(runs))
    assert len(lines) == len(EXPERIMENTS) + 1
    [broken] = [line for line in lines if "  broken  " in line]
    assert broken.startswith(f"20261122_010203_{EXPERIMENTS[0]}") and "delete it" in broken
    models = written(lambda: list_models(argparse.Namespace(json=False)))
    assert [line.split()[0] for line in models] == ["model", *CARDS]


def test_hangul_takes_two_columns(written):
    rows = [("우리-모형", ["3 stages"]), ("kobart", ["4 stages"])]
    assert written(lambda: print_rows(rows), 80) == ["우리-모형  3 stages", "kobart     4 stages"]


def test_a_sentence_is_broken_between_words(written):
    sentence = "the fact file is not valid: delete it and run its stage again, which takes a while."
    lines = written(lambda: print_rows([("x", [sentence])]), 40)
    assert " ".join(lines).split() == ["x", *sentence.split()]
    assert all(cell_len(line) <= 40 for line in lines)
