"What a stranger does: install a wheel elsewhere, type what the README says"

import json

import pytest
from support.install import installed, place, shell, typed_in  # noqa: F401


@pytest.mark.slow
def test_the_demo_trains_six_of_six(typed_in, place):
    runs = [json.loads(p.read_text()) for p in (place / "runs").glob("*_demo/*/train.json")]
    assert len(runs) == 6 and all(
        f["status"] == "success" and f["metrics"]["best"]["loss"] < f["metrics"]["dev_loss_before"]
        for f in runs
    )
    [report] = [p for p in (place / "reports").glob("*_demo.md") if "_vs_" not in p.name]
    assert "```mermaid" in report.read_text(encoding="utf-8") and report.with_suffix(".html").read_text(
        encoding="utf-8"
    ).startswith("<!DOCTYPE html>")


@pytest.mark.slow
def test_an_option_reaches_what_depends_on_it(typed_in, place):
    "`dialsum resume mine`, then with `--num-beams 2`"
    [said] = [done.stderr for block, done in typed_in.items() if block.startswith("dialsum resume")]
    assert "everything is done" in said and "kobart/evaluate runs again: num_beams was 0, now 2" in said
    again = said.partition(" are left")[2]  # of the second
    assert {line.split()[2] for line in again.splitlines() if " kept " in line} == {
        "data",
        "kobart/train",
        "qwen3-4b/train",
    }, again
    [asked] = [json.loads(p.read_text()) for p in (place / "runs").glob("*_mine/experiment.json")]
    [attempt] = asked["attempts"]
    assert (
        attempt["changed"] == {"num_beams": [None, 2]}
        and "kobart/evaluate" in attempt["left"]
        and "kobart/train" not in attempt["left"]
    )
