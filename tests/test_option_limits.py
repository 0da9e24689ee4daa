"Numbers out of range and options without effect are refused at once, whatever command they are given to"

import json
import math
import shutil

import pytest

from dialsum.checks.options import check_options
from dialsum.generation.decoding import Decoding
from dialsum.models.cards import card
from dialsum.runs import folders
from dialsum.runs.errors import DialsumError
from dialsum.runs.folders import new_run
from dialsum.runs.limits import LIMITS
from dialsum.runs.parameters import complete, convert, parameters, stages
from dialsum.runs.places import sample_path
from dialsum.runs.stage import begin
from dialsum.runs.switches import idle
from dialsum.training.recipe import Recipe

NUMBERS = sorted(
    {(p.name, p.type) for stage in stages() for p in parameters(stage).values() if p.type in (int, float)},
    key=str,
)


def out_of_range(name, kind):  # what a number cannot be
    limits = LIMITS[name]
    step = 1 if kind is int else 0.5
    outside = [limits.low - step, math.nan, math.inf, -math.inf]
    if limits.above:
        outside.append(limits.low)
    if limits.high < math.inf:
        outside.append(limits.high + step)
    if limits.below:
        outside.append(limits.high)
    return [value for value in outside if value != limits.default]


def owners(name):  # the stages that have a parameter
    return [stage for stage in stages() if name in parameters(stage)]


def test_no_number_is_without_limits_and_no_default_is_outside():
    assert len(NUMBERS) > 40
    assert not {name for name, _ in NUMBERS} - set(LIMITS)
    for name, _ in NUMBERS:
        for stage in owners(name):
            parameter = parameters(stage)[name]
            assert parameter.convert(parameter.default) == parameter.default, (stage, name)


@pytest.mark.parametrize(("name", "kind"), NUMBERS)
def test_a_number_out_of_range_is_refused_by_every_stage_that_has_it(name, kind):
    for value in out_of_range(name, kind):
        for stage in owners(name):
            with pytest.raises(DialsumError, match=name):
                convert(stage, {name: value})
            with pytest.raises(DialsumError, match=name):
                begin(stage, {name: value})  # as papermill starts it


@pytest.mark.parametrize(("name", "kind"), NUMBERS)
def test_the_ends_of_a_range_belong_to_it(name, kind):
    limits = LIMITS[name]
    inside = [
        end
        for end, shut in ((limits.low, limits.above), (limits.high, limits.below))
        if not shut and end < math.inf
    ]
    for value in inside:
        assert convert(owners(name)[0], {name: value}) == {name: value}


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

    monkeypatch.setattr("dialsum.cli.run_plan", started)
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
    told = [line for line in (done.stdout + done.stderr).splitlines() if "expected" in line]
    assert (
        done.returncode in (1, 2)
        and len(told) == 1
        and option.strip("-").replace("-", "_") in told[0].replace("-", "_")
    )


@pytest.mark.parametrize(
    ("stage", "name", "value"),
    [
        ("train", "epochs", "-1"),
        ("train", "seed", "-1"),
        ("train", "eval_rows", "-1"),
        ("train", "fold", "-2"),
        ("evaluate", "max_new_tokens", "-1"),
        ("api", "solar_price_in", "-1"),
        ("data", "fold_seed", "-1"),
        ("predict", "load_timeout", "inf"),
    ],
)
def test_a_stage_refuses_it_before_its_notebook_starts(typed, tmp_path, monkeypatch, stage, name, value):
    def started(*_, **__):
        raise AssertionError("a stage was started")

    monkeypatch.setattr("dialsum.cli.run_stage", started)
    monkeypatch.setattr(folders, "runs_path", lambda: tmp_path)
    done = typed("stage", stage, "-p", name, value)
    assert done.returncode == 2 and f"{name} is {value}" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--seed", "-1"),
        ("--top-k", "-1"),
        ("--max-source", "-1"),
        ("--temperature", "inf"),
        ("--num-beams", "65"),
    ],
)
def test_predict_refuses_it_before_it_looks_for_a_model(typed, tmp_path, option, value):
    done = typed(
        "predict",
        "--checkpoint",
        tmp_path,
        "--input",
        tmp_path / "no.csv",
        "--output",
        tmp_path / "out.csv",
        option,
        value,
    )
    assert done.returncode == 2 and f"{option[2:].replace('-', '_')} is {value}" in done.stderr


def test_score_refuses_a_seed_out_of_range(typed, tmp_path):
    done = typed(
        "score", "--predictions", tmp_path / "a.csv", "--references", tmp_path / "b.csv", "--seed", "-1"
    )
    assert done.returncode == 2 and "--seed is -1" in done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "epochs",
        "batch_size",
        "learning_rate",
        "lora_alpha",
        "lora_dropout",
        "seed",
        "weight_decay",
        "max_source",
    ],
)
def test_a_recipe_asks_the_same_table(name):
    assert Recipe() == Recipe(**{name: getattr(Recipe(), name)})
    for value in out_of_range(name, float if isinstance(getattr(Recipe(), name), float) else int):
        with pytest.raises(DialsumError) as refused:
            Recipe(**{name: value})
        assert str(LIMITS[name]) in str(refused.value)


@pytest.mark.parametrize(
    "name", ["num_beams", "max_new_tokens", "temperature", "top_p", "repetition_penalty", "length_penalty"]
)
def test_decoding_asks_the_same_table(name):
    for value in out_of_range(name, float if isinstance(getattr(Decoding(), name), float) else int):
        with pytest.raises(DialsumError) as refused:
            Decoding(**{name: value})
        assert str(LIMITS[name]) in str(refused.value)


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


def given(folder):  # a training set without dev and test rows
    shutil.copy(sample_path() / "train.csv", folder / "train.csv")
    return ["--train-csv", folder / "train.csv"]


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

    monkeypatch.setattr("dialsum.cli.run_plan", started)
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


@pytest.mark.parametrize(
    "options",
    [
        dict(dev_fraction=0.2, train_csv="a.csv"),
        dict(engine="hf"),
        dict(metric="mean", train_csv="a.csv", test_csv="b.csv"),
        dict(length_penalty=2.0, num_beams=4),
        dict(augmentation_backend="folder", use_tta=True, tta_strategies="paraphrase"),
        dict(augmentation_backend="folder", augmentation_methods="back_translation"),
        dict(use_solar_api=True, prompt_strategy="self_consistency", self_consistency_samples=3),
        dict(solar_test=False, use_solar_api=True, train_csv="a.csv"),
    ],
    ids=str,
)
def test_an_option_with_an_effect_is_not(options):
    assert idle(options) == {}


@pytest.mark.parametrize("command", ["run", "demo", "preflight"])
def test_an_experiment_that_has_not_begun_has_nothing_to_be_strict_about(typed, monkeypatch, command):
    def started(*_, **__):
        raise AssertionError("an experiment was started")

    monkeypatch.setattr("dialsum.cli.run_plan", started)
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


IDLE_IN = {  # what a stage is given that does nothing there
    "a threshold of quality that is not looked at": (
        "data",
        dict(quality_threshold=0.5),
        "validate_data_quality",
    ),
    "what happens to such rows": ("data", dict(quality_action="fail"), "validate_data_quality"),
    "a share of variants that are not made": ("data", dict(augmentation_ratio=0.3), "use_augmentation"),
    "a writer that writes nothing": (
        "data",
        dict(augmentation_methods="synonym", augmentation_model="m"),
        "paraphrase",
    ),
    "a seed of folds that are not dealt": ("data", dict(fold_seed=3), "k_folds"),
    "a share of rows that are not split": ("data", dict(dev_fraction=0.2), "dev_csv"),
    "a share beside a dev file": (
        "data",
        dict(dev_fraction=0.2, train_csv="a.csv", dev_csv="b.csv"),
        "dev_csv",
    ),
    "names of columns of the sample": ("data", dict(columns="dialogue=대화"), "train_csv"),
    "names of columns of a run": ("evaluate", dict(columns="dialogue=대화"), "dev_csv"),
    "names of columns where nothing is predicted": ("predict", dict(columns="dialogue=대화"), "test_csv"),
    "names of columns of no file to learn": ("train", dict(columns="dialogue=대화"), "train_csv or dev_csv"),
    "a penalty of beams": ("predict", dict(num_beams=1, length_penalty=2.0), "num_beams"),
    "a penalty of beams where it is measured": (
        "evaluate",
        dict(num_beams=1, length_penalty=2.0),
        "num_beams",
    ),
    "a loss where none is allowed": (
        "optimize",
        dict(max_quality_loss=1.0, identical_outputs=True),
        "identical_outputs",
    ),
    "a project that nobody is told of": ("train", dict(wandb_project="x"), "use_wandb"),
    "a model that no form is asked of": ("tta", dict(augmentation_model="m"), "paraphrase"),
    "a key of an endpoint that is not asked": ("api", dict(solar_key_variable="KEY"), "use_solar_api"),
    "samples of another strategy": ("api", dict(self_consistency_samples=3), "self_consistency"),
}


@pytest.mark.parametrize(("stage", "given", "other"), IDLE_IN.values(), ids=IDLE_IN)
def test_a_stage_refuses_what_does_nothing_in_it(typed, tmp_path, monkeypatch, stage, given, other):
    def started(*_, **__):
        raise AssertionError("a stage was started")

    monkeypatch.setattr("dialsum.cli.run_stage", started)
    words = [w for name, value in given.items() for w in ("-p", name, value)]
    done = typed("stage", stage, *words, "--runs", tmp_path)
    assert (
        done.returncode == 2
        and "acts only with" in done.stderr
        and other in done.stderr
        and "--" not in done.stderr
    ), done.stderr
    assert not list(tmp_path.iterdir())
    with pytest.raises(DialsumError, match="acts only with") as refused:
        begin(stage, dict(given))  # as papermill starts it
    assert f"dialsum: {refused.value}" == done.stderr.strip()


def test_a_penalty_of_beams_that_a_stage_s_model_does_not_take_is_refused(typed, tmp_path, monkeypatch):
    def started(*_, **__):
        raise AssertionError("a stage was started")

    monkeypatch.setattr("dialsum.cli.run_stage", started)
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


ACTING = [
    ("data", dict(fold_seed=3, k_folds=2)),
    ("data", dict(dev_fraction=0.2, train_csv="a.csv")),
    ("data", dict(quality_threshold=0.5, validate_data_quality=True)),
    ("train", dict(keep_checkpoints=2)),
    ("data", dict(augmentation_ratio=0.3, augmentation_methods="synonym")),
    ("evaluate", dict(columns="dialogue=대화", dev_csv="a.csv")),
    ("predict", dict(columns="a=b", test_csv="a.csv")),
    ("ensemble", dict(utility="chrf", ensemble_members="models,tta")),
    ("tta", dict(tta_num_aug=2, tta_strategies="paraphrase", augmentation_backend="folder")),
    ("optimize", dict(max_quality_loss=1.0)),
    ("api", dict(solar_samples=4, prompt_strategy="few_shot")),
    ("predict", dict(engine="hf", test_csv="a.csv")),
    ("submit", dict(metric="rouge1")),
    ("predict", dict(length_penalty=2.0, num_beams=4)),
    ("api", dict(solar_test=True, dev_csv="a.csv")),
]


@pytest.mark.parametrize(("stage", "given"), ACTING, ids=str)
def test_a_stage_takes_what_acts_in_it(stage, given):
    assert begin(stage, dict(given)).params == complete(stage, given)


def test_a_stage_takes_its_defaults_though_they_do_nothing():
    for stage in stages():
        usual = {p.name: p.default for p in parameters(stage).values()}
        assert begin(stage, dict(usual)).params == usual


def test_a_stage_of_an_experiment_takes_what_its_experiment_was_asked(monkeypatch, tmp_path):
    "A writer may be for another stage of it; the whole was looked at when it was asked for"
    monkeypatch.setenv("DIALSUM_RUN", str(tmp_path))
    given = dict(run=str(tmp_path), augmentation_backend="folder", augmentation_model="m")
    assert begin("data", dict(given)).params["augmentation_model"] == "m"
    with pytest.raises(DialsumError, match="acts only with"):
        begin("data", given | dict(run=str(tmp_path / "another")))
