"What a whole experiment leaves, and what goes on with it; tests/slow/test_resume.py kills one again and again"

import json
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from support.resume import CALL, copied, experiment, small, undisturbed  # noqa: F401

from dialsum.pipeline.done import is_done
from dialsum.pipeline.ownership import state
from dialsum.pipeline.process import run_stage
from dialsum.pipeline.spec import StageSpec
from dialsum.runs.events import read_events
from dialsum.runs.facts import experiment_record, read_fact, read_facts
from dialsum.training.metrics import TrainMetrics


def test_an_experiment_leaves_what_the_design_says(experiment):
    run = Path(experiment["run"])
    assert re.fullmatch(r"\d{8}_\d{6}_small", run.name)
    for name in (
        "experiment.json",
        "events.jsonl",
        "preflight.json",
        "preflight.ipynb",
        "data.json",
        "data.ipynb",
        "data/train.csv",
        "submission.csv",
        "report.json",
        *(
            f"{m}/{f}"
            for m in ("kobart", "qwen3-4b")
            for f in (
                "train.ipynb",
                "train.json",
                "train.log",
                "evaluate.json",
                "predictions_dev.csv",
                "predictions_test.csv",
            )
        ),
    ):
        assert (run / name).is_file(), name
    assert (run / "kobart/model/model.safetensors").is_file() and (
        run / "qwen3-4b/model/adapter_model.safetensors"
    ).is_file()
    assert (
        not list(run.rglob("*.tmp"))
        and not (run / "errors").exists()
        and not (run / "kobart/checkpoints").exists()
    )
    assert Path(experiment["report"]).read_text(encoding="utf-8").startswith("# ")


def test_facts_have_every_key(experiment):
    keys = {
        "schema",
        "experiment",
        "attempt",
        "host",
        "devices",
        "stage",
        "model",
        "fold",
        "status",
        "started",
        "finished",
        "seconds",
        "params",
        "inputs",
        "outputs",
        "identity",
        "metrics",
        "environment",
        "error",
    }
    found = read_facts(Path(experiment["run"]))
    assert len(found) == 4 + 3 * len(experiment["models"]) and all(
        set(f.to_dict()) == keys and f.status == "success" for f in found
    )
    for f in found:
        if f.stage == "train":
            assert f.metrics.best["loss"] < f.metrics.dev_loss_before
        if f.stage == "evaluate":
            assert f.metrics.split["signature"] != f.metrics.whole["signature"] and len(f.metrics.worst) == 5
    events = [
        json.loads(line) for line in (Path(experiment["run"]) / "events.jsonl").read_text().splitlines()
    ]
    assert [e["event"] for e in events].count("end") == len(found) and {
        "open",
        "beat",
        "start",
        "fact",
        "end",
        "close",
    } == {e["event"] for e in events}


def test_the_submission_is_the_official_format(experiment):
    rows = pd.read_csv(Path(experiment["run"]) / "submission.csv", keep_default_na=False)
    test = pd.read_csv(Path(experiment["run"]) / "data" / "test.csv")
    assert (
        list(rows.columns) == ["Unnamed: 0", "fname", "summary"]
        and list(rows["fname"]) == list(test["fname"])
        and list(rows["Unnamed: 0"]) == list(range(10))
    )


def test_what_is_done_is_not_done_again(experiment):
    run = Path(experiment["run"])
    before = read_fact(run / "kobart" / "train.json", TrainMetrics)
    spec = StageSpec(run, "train", "kobart", {k: v for k, v in before.params.items() if k != "run"})
    happened = read_events(run)
    assert run_stage(spec) == before and [e["event"] for e in read_events(run)[len(happened) :]] == [
        "kept"
    ]  # nothing was started
    assert not is_done(StageSpec(run, "train", "kobart", spec.params | dict(epochs=7)))


def test_a_new_score_is_seen_by_what_depends_on_it(experiment, tmp_path):
    import shutil

    from dialsum.runs.files import to_json

    run = tmp_path / "copy"
    shutil.copytree(experiment["run"], run)
    spec = StageSpec(run, "submit")
    assert run_stage(spec).metrics.chosen == read_fact(run / "submit.json").metrics.chosen
    other = next(m for m in ("kobart", "qwen3-4b") if m != read_fact(run / "submit.json").metrics.chosen)
    fact = read_fact(run / other / "evaluate.json")
    fact.metrics.split["mean"]["f"] = 99
    (run / other / "evaluate.json").write_text(to_json(fact))
    assert run_stage(spec).metrics.chosen == other


def test_a_finished_experiment_has_nothing_left(copied, typed):
    asked = experiment_record(copied)
    before = {
        p: p.stat().st_mtime_ns
        for p in copied.rglob("*")
        if p.is_file() and p.name not in ("events.jsonl", "experiment.json")
    }
    done = typed("resume", copied)
    assert (
        done.returncode == 0
        and "everything is done" in done.stderr
        and done.stderr.count(" kept ") == len(read_facts(copied))
    ), done.stdout + done.stderr
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert experiment_record(copied) == asked


@pytest.mark.slow
def test_a_preflight_that_fails_takes_nothing_away(copied, env, tmp_path):
    "The machine is fuller than before: what has succeeded stays, relative folders included"
    (copied / "submit.json").unlink()
    process = subprocess.Popen(
        [*CALL, "resume", "small", "--runs", "runs", "--stage-timeout", "0.5"],
        cwd=tmp_path,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = process.communicate()[0]
    assert process.returncode == 1 and read_fact(copied / "preflight.json").error.kind == "timeout", said
    assert {f.status for f in read_facts(copied) if f.stage == "train"} == {"success"}
    process = subprocess.Popen(
        [*CALL, "resume", "small", "--runs", "runs"],
        cwd=tmp_path,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = process.communicate()[0]
    assert process.returncode == 0 and "train runs again" not in said and state(copied) == "complete", said
