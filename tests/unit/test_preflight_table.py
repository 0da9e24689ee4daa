"The preflight as somebody reads it: what models share is told once, what is of one model with its name"

import pytest

from dialsum.checks.finding import Finding
from dialsum.checks.preflight import Preflight
from dialsum.runs.error_facts import AS_WRITTEN

EMPTY = Finding.error(
    AS_WRITTEN, "data", what="the file is empty", why="nothing starts", remedy="give another"
)
PADS = Finding.warning("no_pad_token", "checkpoint")
MODELS = ("kobart", "qwen3-4b", "solar-10.7b")


def table(**findings) -> Preflight:
    return Preflight({model: findings.get(model.partition("-")[0], []) for model in MODELS}, 1.0)


@pytest.mark.parametrize("show", [repr, Preflight._repr_html_])
def test_what_is_wrong_with_all_models_is_told_once(show):
    shown = show(table(kobart=[EMPTY], qwen3=[EMPTY, PADS], solar=[EMPTY]))
    assert shown.count("the file is empty") == shown.count("give another") == 1
    assert "all models" in shown and "kobart" not in shown


def test_what_is_wrong_with_some_models_names_them():
    rows = table(kobart=[EMPTY], solar=[EMPTY, PADS]).rows()
    assert [models for models, _ in rows] == ["kobart, solar-10.7b", "solar-10.7b"]
    assert [finding for _, finding in rows] == [EMPTY, PADS]


def test_one_model_is_called_by_its_name():
    assert [models for models, _ in Preflight({"kobart": [EMPTY]}, 1.0).rows()] == ["kobart"]


def test_findings_with_other_numbers_are_two():
    lines = [
        [Finding.warning("few_updates", "epochs", few=20, updates=n, epochs=1, rows=n, batch=1)]
        for n in (3, 4)
    ]
    assert [models for models, _ in table(kobart=lines[0], qwen3=lines[1]).rows()] == ["kobart", "qwen3-4b"]


def test_a_finding_says_on_lines_of_their_own_why_it_matters_and_what_to_do():
    lines = repr(Preflight({"kobart": [EMPTY]}, 1.0)).splitlines()
    assert lines[:3] == ["kobart: error: the file is empty [data]", "  nothing starts", "  give another"]


def test_the_name_of_a_model_is_not_told_twice():
    missing = Finding.error(AS_WRITTEN, "checkpoint", what="kobart: no weights", why="", remedy="fetch them")
    assert repr(Preflight({"kobart": [missing]}, 1.0)).startswith("kobart: error: no weights [")


def test_json_stays_per_model():
    facts = table(kobart=[EMPTY], qwen3=[EMPTY], solar=[EMPTY]).to_dict()["models"]
    assert all(len(facts[model]["findings"]) == 1 for model in MODELS)
