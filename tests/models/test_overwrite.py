"No command writes over what it reads, however the two are spelled"

import json
import os

import pytest
from support.overwrite import ROWS, refused, rows  # noqa: F401

from dialsum.pipeline.process import run_stage
from dialsum.pipeline.spec import StageSpec
from dialsum.runs.folders import new_run
from dialsum.runs.leases import release
from dialsum.runs.places import sample_path
from dialsum.runs.stage import Stage


@pytest.fixture
def experiment(tmp_path):
    "A run folder with rows and a model that a user might give to the run itself again"
    run = new_run(
        "single",
        dict(models=["kobart"], scale="replica", checkpoints={}, workers=1, rehearse=False),
        tmp_path / "runs",
    )
    (run / "data").mkdir()
    (run / "data" / "low_quality.csv").write_bytes((sample_path() / "train.csv").read_bytes())
    (run / "kobart" / "model").mkdir(parents=True)
    (run / "kobart" / "model" / "config.json").write_text("{}")
    return run


def test_rows_from_where_the_data_stage_writes_are_refused(experiment, typed):
    rows = experiment / "data" / "low_quality.csv"
    before = rows.read_bytes()
    refused(typed("resume", experiment, "--train-csv", rows), "low_quality.csv", "copy it")
    refused(typed("stage", "data", "-p", "run", experiment, "-p", "train_csv", rows), "low_quality.csv")
    assert (
        rows.read_bytes() == before
        and json.loads((experiment / "experiment.json").read_text())["options"].get("train_csv") is None
    )


def test_a_model_from_where_training_writes_is_refused(experiment, typed):
    model = experiment / "kobart" / "model"
    refused(typed("resume", experiment, "--checkpoint", model), "model")
    refused(
        typed("stage", "train", "-p", "run", experiment, "-p", "model", "kobart", "-p", "checkpoint", model),
        "model",
    )
    assert list(model.iterdir())


def test_so_is_it_where_a_notebook_is_started_without_the_command_line(experiment):
    from dialsum.runs.errors import DialsumError

    stage = Stage("data", dict(run=str(experiment)))
    with pytest.raises(DialsumError, match="writes anew"):
        stage.use(experiment / "data" / "low_quality.csv")
    trained = Stage("evaluate", dict(run=str(experiment)), "kobart")
    assert trained.use(experiment / "kobart" / "model")  # is only read


def test_a_report_may_lie_beside_its_run_and_changes_nothing_in_it(experiment, typed):
    def files():
        return {
            p: p.read_bytes()
            for p in experiment.rglob("*")
            if p.is_file() and p.name not in ("events.jsonl", ".lock")
        }

    before = files()
    from dialsum.report.document import write_report

    write_report(experiment, experiment.parent)
    after = files()
    assert all(after.get(p) == text for p, text in before.items())


def test_a_stage_that_is_run_by_the_pipeline_is_held_to_the_same(experiment):
    from dialsum.runs.errors import DialsumError

    spec = StageSpec(experiment, "data", "", dict(train_csv=str(experiment / "data" / "low_quality.csv")))
    with pytest.raises(DialsumError, match="writes anew"):
        run_stage(spec)
    assert (experiment / "data" / "low_quality.csv").exists()


@pytest.fixture
def trained(experiment):
    "That run, in which an evaluation has left its notebook and its facts"
    spec = StageSpec(experiment, "evaluate", "kobart", dict(scale="replica"))
    stage = Stage("evaluate", spec.all_params, "kobart")
    stage.record({})
    (experiment / "kobart" / "evaluate.ipynb").write_text('{"cells": []}')
    for folder in (experiment, experiment / "kobart"):
        release(folder)
    return experiment


def evaluated(typed, run, output):
    return typed(
        "stage", "evaluate", "-p", "run", run, "-p", "model", "kobart", "-p", "scale", "replica", "-o", output
    )


@pytest.mark.parametrize("name", ["kobart/evaluate.ipynb", "link.ipynb", "copies/evaluation.ipynb", "kobart"])
def test_a_stage_puts_its_notebook_into_its_run_again_and_again(name, trained, typed):
    "Where it lies by itself, by a link to that, or as a copy"
    own = trained / "kobart" / "evaluate.ipynb"
    (trained / "link.ipynb").symlink_to(own)
    (trained / "copies").mkdir()
    for _ in range(2):
        done = evaluated(typed, trained, trained / name)
        assert done.returncode == 0, done.stderr
        assert own.read_text() == '{"cells": []}'
    assert (trained / name).is_dir() or (trained / name).read_bytes() == own.read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "kobart/model/config.json",
        "kobart/evaluate.json",
        "experiment.json",
        "data/low_quality.csv",
        "train.ipynb",
    ],
)
def test_a_stage_refuses_what_its_run_holds_as_output(name, trained, typed):
    (trained / "train.ipynb").write_text("{}")
    before = (trained / name).read_bytes()
    refused(evaluated(typed, trained, trained / name), "-o")
    assert (trained / name).read_bytes() == before


def test_a_parameter_that_is_too_long_for_a_name_is_no_path(trained, typed, tmp_path):
    "new_tokens may have any length, and the notebook's copy is there already"
    (tmp_path / "copy.ipynb").write_text("{}")
    long = ",".join(f"#말{i}#" for i in range(200))
    done = typed(
        "stage",
        "train",
        "-p",
        "run",
        trained,
        "-p",
        "model",
        "kobart",
        "-p",
        "new_tokens",
        long,
        "-p",
        "checkpoint",
        trained / "kobart" / "model",
        "-o",
        tmp_path / "copy.ipynb",
    )
    refused(done, "writes anew")  # which is looked at behind


@pytest.fixture
def adapter(tmp_path, monkeypatch):
    "An adapter of a run, whose configuration names its base, and a place to which that may have moved"
    monkeypatch.chdir(tmp_path)
    run = new_run("single", dict(models=["qwen3-4b"], scale="replica"), tmp_path / "runs")
    (tmp_path / "rows.csv").write_text(ROWS, encoding="utf-8")
    for folder in (tmp_path / "base", tmp_path / "moved", run / "qwen3-4b" / "model"):
        folder.mkdir(parents=True)
        for name in ("config.json", "tokenizer.json"):
            (folder / name).write_text("{}")
    (run / "qwen3-4b" / "model" / "config.json").unlink()
    (run / "qwen3-4b" / "model" / "adapter_config.json").write_text(
        json.dumps(dict(base_model_name_or_path=str(tmp_path / "base")))
    )
    (run / "qwen3-4b" / "evaluate.json").write_text("{}")
    (tmp_path / "link").symlink_to("base")
    os.link(tmp_path / "base" / "config.json", tmp_path / "second_name.csv")
    return run / "qwen3-4b" / "model"


def files_below(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


READ = [
    "base/config.json",
    "base/new.csv",
    "base/deep/new.csv",
    "link/new.csv",
    "second_name.csv",
    "base",
    "{run}/qwen3-4b/model/adapter_config.json",
    "{run}/qwen3-4b/model/new.csv",
    "{run}/qwen3-4b/evaluate.json",
    "{run}/qwen3-4b/predictions_test.csv",
    "{run}/experiment.json",
    "moved/tokenizer.json",
]


@pytest.mark.parametrize("output", READ)
def test_predict_writes_into_no_folder_that_its_model_is_read_from(output, adapter, typed, tmp_path):
    before = files_below(tmp_path)
    output = output.format(run=adapter.parent.parent)
    base = ["--base", "moved"] if output.startswith("moved") else []
    done = typed("predict", "--checkpoint", adapter, "--input", "rows.csv", "--output", output, *base)
    assert (
        done.returncode == 2
        and "give --output another" in done.stderr
        and len(done.stderr.strip().splitlines()) == 1
    ), done.stderr
    assert files_below(tmp_path) == before


def test_a_new_file_beside_the_runs_is_no_reason_to_refuse(adapter, typed, tmp_path):
    for output in ("new.csv", adapter.parent.parent / "new.csv"):
        done = typed("predict", "--checkpoint", adapter, "--input", "rows.csv", "--output", output)
        assert done.returncode == 2 and "give --output another" not in done.stderr, done.stderr


@pytest.mark.parametrize(
    "copy",
    [
        "base/tokenizer.json",
        "base/copy.ipynb",
        "moved/tokenizer.json",
        "moved",
        "{run}/qwen3-4b/evaluate.json",
        "{run}/qwen3-4b/model/copy.ipynb",
    ],
)
def test_a_stage_puts_its_notebook_into_no_folder_that_its_model_is_read_from(
    copy, adapter, typed, tmp_path, monkeypatch
):
    def started(*_, **__):
        raise AssertionError("a stage was started")

    monkeypatch.setattr("dialsum.commands.single_stage.run_stage", started)
    before = files_below(tmp_path)
    base = ["-p", "base", tmp_path / "moved"] if copy.startswith("moved") else []
    done = typed(
        "stage",
        "predict",
        "-p",
        "model",
        "qwen3-4b",
        "-p",
        "checkpoint",
        adapter,
        *base,
        "-o",
        copy.format(run=adapter.parent.parent),
        "--runs",
        tmp_path / "new",
    )
    assert done.returncode == 2 and "give -o another" in done.stderr, done.stderr
    assert files_below(tmp_path) == before and not (tmp_path / "new").exists()


def test_so_is_the_model_that_its_run_trained(trained, typed):
    done = evaluated(typed, trained, trained / "kobart" / "model" / "copy.ipynb")
    assert done.returncode == 2 and "give -o another" in done.stderr, done.stderr


@pytest.mark.parametrize("option", ["--runs", "--reports"])
def test_no_experiment_is_made_in_a_model_that_it_starts_from(option, adapter, typed, tmp_path, monkeypatch):
    def started(*_, **__):
        raise AssertionError("an experiment was started")

    monkeypatch.setattr("dialsum.commands.experiments.run_plan", started)
    before = files_below(tmp_path)
    done = typed(
        "run",
        "--models",
        "qwen3-4b",
        "--scale",
        "replica",
        "--checkpoint",
        adapter,
        "--runs",
        tmp_path / "new",
        "--reports",
        tmp_path / "reports",
        option,
        "base/new",
    )
    assert done.returncode == 2 and f"give {option} another" in done.stderr, done.stderr
    assert files_below(tmp_path) == before
