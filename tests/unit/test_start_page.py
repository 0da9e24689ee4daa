"The start page shows summaries that say something, and numbers as people read them"

import json
import re

import pytest
from support.places import ROOT

from dialsum.data.dialogues import read, to_dialogues
from dialsum.runs.places import sample_path
from dialsum.scores.files import read_predictions
from dialsum.scores.rouge import rouge

INDEX = ROOT / "nbs" / "index.ipynb"
FILE = sample_path() / "summaries_gemma-3-270m.csv"


def cells() -> list[dict]:
    return json.loads(INDEX.read_text(encoding="utf-8"))["cells"]


def seen() -> list[str]:  # what a browser shows of each output, without its tags
    shown = []
    for cell in cells():
        for output in cell.get("outputs", []):
            data = output.get("data", {"text/plain": output.get("text", "")})
            kinds = [kind for kind in ("text/html", "text/markdown", "text/plain") if kind in data]
            html = "".join(data[kinds[0]])
            shown.append(re.sub(r"<style.*?</style>|<[^>]*>", " ", html, flags=re.S))
    return shown


UNREADABLE = {
    "nothing where a value is missing": r"\b(?:NaN|nan|None)\b|<NA>|&lt;NA&gt;",
    "no thousands separators": r"(?<![\d,.#_])\d{5,}(?![\d_])",
}


@pytest.mark.parametrize("flaw", UNREADABLE)
def test_no_number_on_the_start_page_is_unreadable(flaw):
    assert len(seen()) > 5
    for text in seen():
        assert not re.search(UNREADABLE[flaw], text), re.search(f".*(?:{UNREADABLE[flaw]}).*", text)[0]


@pytest.mark.parametrize(("flaw", "text"), list(zip(UNREADABLE, ("model NaN", "123859968"))))
def test_an_unreadable_number_is_found(flaw, text):
    assert re.search(UNREADABLE[flaw], text)


def test_the_sample_has_a_real_summary_of_every_dev_dialogue():
    summaries = read_predictions(FILE)
    dev = to_dialogues(read(sample_path() / "dev.csv", summaries=True))
    assert list(summaries) == [dialogue.fname for dialogue in dev]
    for dialogue in dev:
        summary = summaries[dialogue.fname]
        assert summary not in dialogue.summaries  # nobody copied the reference
        assert len(summary.split()) > 4 and re.search("#Person\\d#", summary), dialogue.fname


def test_the_summaries_of_the_sample_beat_what_a_summary_must_beat():
    summaries = read_predictions(FILE)
    dev = read(sample_path() / "dev.csv", summaries=True)
    table = rouge(
        [summaries[fname] for fname in dev["fname"]],
        list(dev["summaries"]),
        dialogues=list(dev["dialogue"]),
    )
    for row in ("null", "lead2"):
        assert table.rows["score"]["mean"].low > table.rows[row]["mean"].f, row


def test_the_start_page_says_how_the_summaries_were_made_and_shows_some_of_them():
    source = "\n".join("".join(cell["source"]) for cell in cells())
    assert FILE.name in source and "make real" in source and "predictions_dev.csv" in source
    shown = re.sub(r"\s+", "", "".join(seen()))
    whole = [text for text in read_predictions(FILE).values() if re.sub(r"\s+", "", text) in shown]
    assert len(whole) in (2, 3)
