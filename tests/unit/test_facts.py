"""Facts have types: what is written comes back as it was, and what is wrong is said in one sentence"""

import json
from dataclasses import fields

import pytest
from pydantic import ValidationError
from support.experiments import TYPED, fact_of, metrics, paired, whole

from dialsum.augment.metrics import BackendUse
from dialsum.checks.finding import Finding
from dialsum.checks.metrics import FindingRecord, OutlookRecord
from dialsum.checks.outlook import Outlook
from dialsum.endpoints.connection import Used
from dialsum.generation.bench import Measured
from dialsum.generation.metrics import EvaluateMetrics, MeasuredEngine, OptimizeMetrics
from dialsum.generation.search import Optimum
from dialsum.models.lengths import Lengths
from dialsum.models.metrics import LengthsRecord, PrecisionRecord
from dialsum.models.precision import Precision
from dialsum.pipeline.metrics import METRICS
from dialsum.report.example import example_experiment
from dialsum.runs.errors import DialsumError
from dialsum.runs.facts import experiment_record, fact_files, read_fact, read_facts
from dialsum.runs.files import to_json
from dialsum.runs.messages import LANGUAGES
from dialsum.training.metrics import RecipeRecord, TrainMetrics
from dialsum.training.recipe import Recipe


def spoiled(run, path, key, value):
    "A fact file with another value at a place of its metrics"
    fact = json.loads(path.read_text())
    fact["metrics"][key] = value
    path.write_text(to_json(fact))
    return path


def test_every_fact_comes_back_key_for_key(build):
    run, leave = whole(build, command=TYPED)
    paired(leave, "solar-10.7b", [40.123456789012345, 41, 0.1])
    leave("train", "kullm-v2", "failed", code="never_run")
    for folder in (run, example_experiment()):
        written = [json.loads(path.read_text()) for path in fact_files(folder)]
        read = {fact.key: fact.to_dict() for fact in read_facts(folder, METRICS)}
        assert len(read) == len(written) > 5
        for fact in written:
            known = read.pop("/".join(filter(None, [fact["model"], fact["stage"]])))
            assert to_json(known) == to_json(fact) and json.dumps(known, sort_keys=True) == json.dumps(
                fact, sort_keys=True
            )
        asked = experiment_record(folder)
        assert asked.to_dict() == json.loads((folder / "experiment.json").read_text())


def test_what_a_newer_version_has_written_is_kept():
    newer = metrics("train") | dict(energy=dict(joules=3.5))
    fact = fact_of("train", metrics=newer, weather="rain")
    assert fact.to_dict()["metrics"] == newer and fact.to_dict()["weather"] == "rain"


@pytest.mark.parametrize(
    ("stage", "key", "value", "place", "expected"),
    [
        ("evaluate", "split", dict(mean=dict(f="40")), "metrics.split.mean.f", "a number"),
        ("evaluate", "split", 40.0, "metrics.split", "an object"),
        ("evaluate", "per_dialogue", dict(), "metrics.per_dialogue", "a list"),
        ("train", "steps", 2.5, "metrics.steps", "a whole number"),
        ("train", "rows", True, "metrics.rows", "a whole number"),
        ("train", "choice", 3, "metrics.choice", "a text"),
        ("predict", "length_control", "on", "metrics.length_control", "true or false"),
        ("submit", "candidates", [dict(score=1.0)], "metrics.candidates.0.model", "a value"),
    ],
)
def test_a_value_of_another_type_is_refused_in_one_sentence(build, stage, key, value, place, expected):
    run, _ = whole(build)
    path = spoiled(run, next(p for p in fact_files(run) if p.stem == stage), key, value)
    with pytest.raises(DialsumError) as caught:
        read_fact(path, METRICS[stage])
    error = caught.value
    assert error.code == "fact_file_invalid" and "\n" not in str(error)
    assert str(error).startswith(f"the fact file '{path}' holds something else than {expected} at {place}:")
    assert all(place in error.message(language).what for language in LANGUAGES)
    assert "{" not in str(error.message("ko"))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (TrainMetrics, dict(curve=[dict(step=1, lose=2.0)])),
        (EvaluateMetrics, dict(spilt=None)),
        (OptimizeMetrics, dict(rows=[dict(engine="hf", batch_size=1, speed=3.0)])),
    ],
)
def test_a_misspelt_key_is_not_written(kind, values):
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        kind.of(**values)


def test_every_stage_has_its_metrics_and_says_so():
    for stage, kind in METRICS.items():
        assert kind.__name__.lower().startswith(stage.replace("_", "")) and kind.__doc__


def test_a_diagnosis_names_the_whole_key(build, typed):
    run, leave = build()
    leave("train", "kobart", "failed", message="x")
    path = next(p for p in fact_files(run) if p.stem == "train")
    fact = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(fact | dict(error=dict(kind=3))), encoding="utf-8")
    done = typed("diagnose", path)
    assert done.returncode == 2 and "holds something else than a text at error.kind" in done.stderr


def test_a_record_has_every_field_of_what_it_records():
    recorded = {
        Precision: PrecisionRecord,
        Recipe: RecipeRecord,
        Lengths: LengthsRecord,
        Measured: MeasuredEngine,
        Optimum: OptimizeMetrics,
        Outlook: OutlookRecord,
        Used: BackendUse,
    }
    for kind, record in recorded.items():
        assert {f.name for f in fields(kind)} <= set(record.model_fields), record.__name__
    finding = Finding.error("as_written", "here", what="what", why="why", remedy="remedy")
    assert FindingRecord.of(**finding.to_dict())
