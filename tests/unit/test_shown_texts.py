"What a replica wrote is shown to nobody; who wrote decides, and not what was written"

import ast
import json

import pytest
from support.places import ROOT

from dialsum.data.dialogues import Dialogue
from dialsum.generation.metrics import EvaluateMetrics
from dialsum.report.cases import Case
from dialsum.runs.facts import make_fact, place, scale_of_run, write_fact
from dialsum.runs.folders import new_run
from dialsum.scores.shown_texts import is_shown, shown_text

TEXT = "회의를 네 시로 옮긴다."


@pytest.mark.parametrize("text", [TEXT, "", " ", "<b>"])
@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_scale_decides_and_not_the_text(text, language):
    assert shown_text(text, "full", language) == text
    assert shown_text(text, "replica", language) == shown_text(TEXT, "replica", language)
    assert is_shown("full") and not is_shown("replica")
    assert ("replica" in shown_text(text, "replica", language)) == (language == "en")


def forms(case: Case) -> list[str]:
    return [repr(case), case._repr_html_(), case.markdown()]


def test_a_case_shows_what_real_models_wrote_and_what_replicas_did_not():
    dialogue = Dialogue("x", "#Person1#: 말", ("정답이다.",))
    written = dict(real="진짜글", toy="난수글")
    for shown, language in zip(
        forms(Case(dialogue, written, scales=dict(toy="replica"))), ("en", "en", "ko")
    ):
        assert "진짜글" in shown and "정답이다" in shown
        assert "난수글" not in shown and shown.count(shown_text("", "replica", language)) == 1
    for shown in forms(Case(dialogue, written)):
        assert "진짜글" in shown and "난수글" in shown


def test_a_case_scores_what_it_does_not_show():
    dialogue = Dialogue("x", "#Person1#: 말", ("정답이다.",))
    case = Case(dialogue, dict(toy="정답이다."), scales=dict(toy="replica"))
    assert case.scores["toy"][3] == 100 and "(100.0)" in repr(case)


@pytest.mark.parametrize(
    ("asked", "measured", "expected"),
    [("replica", "", "replica"), ("", "replica", "replica"), ("full", "full", "full"), ("", "", "full")],
)
def test_the_scale_of_an_experiment_is_what_was_asked_or_what_a_stage_measured(
    asked, measured, expected, tmp_path
):
    options = dict(scale=asked) if asked else {}
    run = new_run("x", dict(models=["kobart"]) | options, tmp_path)
    fact = make_fact(run, "evaluate", "success", "kobart", metrics=EvaluateMetrics.of(scale=measured))
    path = place(run, "kobart") / "evaluate.json"
    path.parent.mkdir()
    write_fact(run, path, fact)
    assert scale_of_run(run) == expected


WRITTEN = dict(  # stage → names that hold what a model wrote, where a cell ends in them
    train="some worst",
    evaluate="cases shown predictions on_dev",
    predict="predictions",
    folds="rows",
    submit="rows",
    tta="told",
)


def shown_by(source: str) -> list[ast.expr]:  # what a cell ends in, and what it prints
    tree = ast.parse(source)
    last = tree.body[-1] if tree.body else None
    ends = [last.value] if isinstance(last, ast.Expr) else []
    printed = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("print", "display")
    ]
    return ends + printed


def names_in(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


@pytest.mark.parametrize("stage", WRITTEN)
def test_a_stage_shows_texts_through_the_function_that_decides(stage):
    cells = json.loads((ROOT / "nbs" / f"{stage}.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    through = 0
    for source in sources:
        for node in shown_by(source):
            if names_in(node) & set(WRITTEN[stage].split()):
                assert "shown_text(" in source or "shown" in names_in(node), source
                through += 1
    assert through
