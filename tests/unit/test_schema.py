"""What an earlier version has written (schema 1: sentences instead of codes) is read as if it were of today"""

import json

import pytest
from support.experiments import at, whole

from dialsum.checks.diagnosis import diagnose_file
from dialsum.commands.listing import runs_table
from dialsum.pipeline.done import why_undone
from dialsum.pipeline.ownership import state
from dialsum.pipeline.spec import StageSpec
from dialsum.report.document import render
from dialsum.report.experiment import read_experiment
from dialsum.runs.error_facts import error_message, error_sentence
from dialsum.runs.errors import DialsumError
from dialsum.runs.events import log_event
from dialsum.runs.facts import experiment_record, fact_files, read_facts
from dialsum.runs.files import sha256
from dialsum.runs.records import SCHEMA

LOST = "qwen3-4b: there is no folder './nowhere': give a checkpoint folder or a hub name."


BLOCKED = "qwen3-4b/evaluate could not run because qwen3-4b/train did not succeed."


FINDING = dict(
    severity="error",
    what="there is no folder './nowhere'",
    where="checkpoint",
    why="there would be nothing to train",
    remedy="give a checkpoint folder or a hub name.",
)


def rewrite(path, change):
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


@pytest.fixture
def old(build):
    "A run folder as version 0.1.0 left it: one model whose training failed, an experiment that was resumed"
    run, leave = whole(build, models=("kobart",))
    leave("train", "qwen3-4b", "failed", kind="user", message=LOST, folder="qwen3-4b")
    leave("evaluate", "qwen3-4b", "blocked", kind="blocked", message=BLOCKED, folder="qwen3-4b")
    models = {"kobart": dict(ok=True, findings=[]), "qwen3-4b": dict(ok=False, findings=[FINDING])}
    leave("preflight", found=dict(models=models, seconds=1.5, rehearsed=False))

    def to_schema_1(content):
        content["schema"] = 1
        if content.get("error"):
            del content["error"]["code"], content["error"]["fields"]
            content["error"]["type"] = "DialsumError"

    for path in fact_files(run):
        rewrite(path, to_schema_1)
    left = {"kobart/train": "it failed", "kobart/evaluate": "its input 'data' has changed"}
    attempt = dict(time=at(7), command="dialsum resume x", changed={}, left=left)

    def ask_for_both(asked):
        asked["options"]["models"] = ["kobart", "qwen3-4b"]
        asked.update(schema=1, attempts=[attempt])

    rewrite(run / "experiment.json", ask_for_both)
    return run


def test_its_errors_keep_their_words(old):
    found = {(f.stage, f.model): f for f in read_facts(old)}
    assert {f.version for f in found.values()} == {SCHEMA}
    error = found["train", "qwen3-4b"].error
    assert error.code == "" and error_sentence(error) == LOST == error_message(error, "ko").what


def test_its_experiment_says_why_it_went_on(old):
    [attempt] = experiment_record(old).attempts
    assert error_sentence(attempt.left["kobart/train"]) == "it failed"


def test_its_report_is_written(old):
    text = render(read_experiment(old))
    assert LOST in text and "`it failed`" in text and "there is no folder" in text and "nowhere" in text


def test_it_is_listed_and_diagnosed(old):
    assert state(old) == "ended"
    [row] = runs_table(old.parent)
    assert (row["failed"], row["blocked"], row["broken"]) == (1, 1, None)
    assert [d.kind for d in diagnose_file(old / "qwen3-4b" / "train.json")] == ["dialsum-refusal"]


def test_its_failed_stage_runs_again(old):
    spec = StageSpec(old, "train", "qwen3-4b")
    log_event(old, "fact", file="qwen3-4b/train.json", sha256=sha256(spec.fact))
    assert str(why_undone(spec)) == "it failed"


def test_a_schema_that_nobody_knows_is_refused(old):
    rewrite(old / "submit.json", lambda fact: fact.update(schema=3))
    with pytest.raises(DialsumError, match=f"not of schema {SCHEMA}"):
        read_facts(old)


def test_its_stages_have_the_names_of_today(old):
    [file] = [p for p in fact_files(old) if p.stem == "evaluate" and "qwen" not in str(p)]
    former = json.loads(file.read_text(encoding="utf-8")) | dict(
        metrics=dict(systems=[dict(system="best", mean=30.0)], splits={})
    )
    file.with_stem("checkpoints").write_text(json.dumps(former | dict(stage="checkpoints")), encoding="utf-8")
    assert "epoch_candidates" in {f.stage for f in read_facts(old)}
    assert "다른 에폭" in render(read_experiment(old))
    newer = former | dict(
        schema=SCHEMA,
        stage="epoch_candidates",
        metrics=dict(systems=[dict(system="best", mean=30.0)], splits={}, rows=3),
    )
    file.with_stem("epoch_candidates").write_text(json.dumps(newer), encoding="utf-8")
    assert [f.metrics.to_dict() for f in read_facts(old) if f.stage == "epoch_candidates"] == [
        dict(systems=[dict(system="best", mean=30.0)], splits={}, rows=3)
    ]
