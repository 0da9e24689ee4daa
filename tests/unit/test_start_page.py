"The start page shows numbers as people read them"

import json
import re

import pytest
from support.places import ROOT

INDEX = ROOT / "nbs" / "index.ipynb"


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
    assert len(seen()) >= 3
    for text in seen():
        assert not re.search(UNREADABLE[flaw], text), re.search(f".*(?:{UNREADABLE[flaw]}).*", text)[0]


@pytest.mark.parametrize(("flaw", "text"), list(zip(UNREADABLE, ("model NaN", "123859968"))))
def test_an_unreadable_number_is_found(flaw, text):
    assert re.search(UNREADABLE[flaw], text)
