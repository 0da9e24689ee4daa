"Numbers out of range and options without effect are refused at once, whatever command they are given to"

import json

import pytest
from support.option_limits import given

from dialsum.checks.options import check_options
from dialsum.models.cards import card
from dialsum.runs.folders import new_run
from dialsum.runs.places import sample_path

WRONG = [
    ("--seed", "-1"),
    ("--seed", str(2**32)),
    ("--eval-rows", "-1"),
    ("--epochs", "-1"),
    ("--lora-alpha", "-1"),
    ("--solar-per-minute", "0"),
    ("--weight-decay", "nan"),
    ("--stage-timeout", "nan"),
    ("--stage-timeout", "-1"),
    ("--workers", "-1"),
]


@pytest.mark.parametrize("command", ["run", "resume", "demo"])
@pytest.mark.parametrize(("option", "value"), WRONG)
def test_commands_refuse_it_before_anything_is_made(typed, tmp_path, monkeypatch, command, option, value):
    def started(*_, **__):
        raise AssertionError("an experiment was started")

    monkeypatch.setattr("dialsum.commands.experiments.run_plan", started)
    asked = dict(
        command="dialsum run",
        mode="single",
        models=["kobart"],
        scale="replica",
        workers=1,
        checkpoints={},
        reports=str(tmp_path),
        rehearse=False,
        use_tta=False,
        optimize_inference=False,
    )
    before = new_run("small", asked, tmp_path / "runs") if command == "resume" else None
    words = [before] if before else ["--scale", "replica"]
    done = typed(command, *words, "--runs", tmp_path / "runs", option, value)
    assert (
        done.returncode == 2
        and option.strip("-").replace("-", "_") in done.stderr.replace("-", "_")
        and "expected" in done.stderr
    )
    assert sorted((tmp_path / "runs").glob("*")) == ([before] if before else [])


@pytest.mark.parametrize(("option", "value"), WRONG)
def test_the_preflight_finds_it_once(typed, tmp_path, option, value):
    done = typed("preflight", "--scale", "replica", "--runs", tmp_path, option, value)
    printed = done.stdout + done.stderr
    assert done.returncode in (1, 2) and printed.count("expected") == 1
    told, _, _ = printed.partition("expected")  # a remedy stands below its finding
    assert option.strip("-").replace("-", "_") in told.replace("-", "_")


def test_the_preflight_stage_checks_the_options_that_it_is_given():
    found = check_options(card("kobart"), "replica", dict(eval_rows=-1, seed=0))
    assert (
        [f.severity for f in found] == ["error"]
        and found[0].where == "eval_rows"
        and "at least 0" in found[0].remedy
    )
    assert not check_options(card("kobart"), "replica", dict(eval_rows=0, seed=0))


def test_a_stage_puts_its_run_where_it_is_told_and_finds_one_by_name(typed, tmp_path):
    done = typed("stage", "data", "-p", "debug", "true", "--runs", tmp_path / "mine")
    [run] = (tmp_path / "mine").iterdir()
    assert done.returncode == 0 and json.loads((run / "data.json").read_text())["status"] == "success"
    again = typed("stage", "data", "-p", "debug", "true", "-p", "run", run.name, "--runs", tmp_path / "mine")
    assert again.returncode == 0 and [p.name for p in (tmp_path / "mine").iterdir()] == [run.name]
    lost = typed("stage", "data", "-p", "run", run.name[:-1] + "x", "--runs", tmp_path / "mine")
    assert lost.returncode == 2 and run.name in lost.stderr


IDLE = {
    "a writer that is not named": ["--augmentation-model", "m"],
    "a writer that writes nothing": [
        "--augmentation-backend",
        "https://llm.example.com/v1",
        "--augmentation-model",
        "m",
        "--augmentation-methods",
        "synonym",
    ],
    "a share of rows that are not split": ["--dev-fraction", "0.2"],
    "an engine without test rows": [given, "--engine", "hf"],
    "a choice without test rows": [given, "--metric", "rouge1"],
    "a loss where none is allowed": [
        "--optimize-inference",
        "--identical-outputs",
        "--max-quality-loss",
        "1",
    ],
    "samples of another strategy": ["--use-solar-api", "--solar-optional", "--self-consistency-samples", "3"],
    "a penalty of beams that were not asked for": ["--length-penalty", "2", "--num-beams", "1"],
    "a penalty of beams that the model does not take": ["--length-penalty", "2"],
}


@pytest.mark.parametrize("words", IDLE.values(), ids=IDLE)
def test_an_option_without_effect_is_refused_with_what_it_acts_with(typed, tmp_path, monkeypatch, words):
    def started(*_, **__):
        raise AssertionError("an experiment was started")

    monkeypatch.setattr("dialsum.commands.experiments.run_plan", started)
    words = [w for word in words for w in (word(tmp_path) if callable(word) else [word])]
    done = typed(
        "run", "--scale", "replica", "--runs", tmp_path / "runs", "--reports", tmp_path / "reports", *words
    )
    option = [w for w in words if str(w).startswith("--")]
    assert (
        done.returncode == 2
        and "acts only with" in done.stderr
        and any(f"{o} acts" in done.stderr for o in option)
        and not (tmp_path / "runs").exists()
    ), done.stderr


@pytest.mark.parametrize("command", ["run", "demo", "preflight"])
def test_an_experiment_that_has_not_begun_has_nothing_to_be_strict_about(typed, monkeypatch, command):
    def started(*_, **__):
        raise AssertionError("an experiment was started")

    monkeypatch.setattr("dialsum.commands.experiments.run_plan", started)
    monkeypatch.setattr("dialsum.checks.preflight.preflight", started)
    done = typed(command, "--scale", "replica", "--strict")
    assert done.returncode == 2 and "--strict" in done.stderr


def test_the_preflight_asks_for_what_a_run_would(typed, tmp_path):
    done = typed(
        "preflight",
        "--mode",
        "full",
        "--models",
        "kobart",
        "--scale",
        "replica",
        "--quality-action",
        "drop",
        "--runs",
        tmp_path,
    )  # which is part of that mode
    assert done.returncode == 0 and "acts only" not in done.stdout, done.stdout
    done = typed(
        "preflight",
        "--scale",
        "replica",
        "--length-penalty",
        "2",
        "--runs",
        tmp_path,
        "--reports",
        "/dev/null/reports",
    )
    assert (
        done.returncode == 1
        and "--length-penalty acts only" in done.stdout
        and "'/dev/null/reports'" in done.stdout
    )


def test_predict_refuses_a_penalty_of_beams_that_it_has_not(typed, tmp_path):
    from dialsum.models.checkpoints import locate

    done = typed(
        "predict",
        "--checkpoint",
        locate(card("kobart"), "replica"),
        "--model",
        "kobart",
        "--input",
        sample_path() / "test.csv",
        "--output",
        tmp_path / "out.csv",
        "--num-beams",
        "1",
        "--length-penalty",
        "2",
    )
    assert (
        done.returncode == 2
        and "--length-penalty acts only" in done.stderr
        and not (tmp_path / "out.csv").exists()
    )


def test_a_penalty_of_beams_that_a_stage_s_model_does_not_take_is_refused(typed, tmp_path, monkeypatch):
    def started(*_, **__):
        raise AssertionError("a stage was started")

    monkeypatch.setattr("dialsum.commands.single_stage.run_stage", started)
    done = typed(
        "stage",
        "evaluate",
        "-p",
        "model",
        "kobart",
        "-p",
        "scale",
        "replica",
        "-p",
        "length_penalty",
        "2",
        "--runs",
        tmp_path,
    )
    assert (
        done.returncode == 2
        and "length_penalty acts only with more than one beam" in done.stderr
        and "--" not in done.stderr
    ), done.stderr
    assert not list(tmp_path.iterdir())
