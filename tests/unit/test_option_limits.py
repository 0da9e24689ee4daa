"Numbers out of range and options without effect are refused at once, whatever command they are given to"

import math

import pytest
from support.option_limits import given  # noqa: F401

from dialsum.generation.decoding import Decoding
from dialsum.runs import folders
from dialsum.runs.errors import DialsumError
from dialsum.runs.limits import LIMITS
from dialsum.runs.parameters import complete, convert_parameters, stage_parameters, stages
from dialsum.runs.stage import begin
from dialsum.runs.switches import idle
from dialsum.training.recipe import Recipe

NUMBERS = sorted(
    {
        (p.name, p.type)
        for stage in stages()
        for p in stage_parameters(stage).values()
        if p.type in (int, float)
    },
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
    return [stage for stage in stages() if name in stage_parameters(stage)]


def test_no_number_is_without_limits_and_no_default_is_outside():
    assert len(NUMBERS) > 40
    assert not {name for name, _ in NUMBERS} - set(LIMITS)
    for name, _ in NUMBERS:
        for stage in owners(name):
            parameter = stage_parameters(stage)[name]
            assert parameter.convert(parameter.default) == parameter.default, (stage, name)


@pytest.mark.parametrize(("name", "kind"), NUMBERS)
def test_a_number_out_of_range_is_refused_by_every_stage_that_has_it(name, kind):
    for value in out_of_range(name, kind):
        for stage in owners(name):
            with pytest.raises(DialsumError, match=name):
                convert_parameters(stage, {name: value})
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
        assert convert_parameters(owners(name)[0], {name: value}) == {name: value}


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

    monkeypatch.setattr("dialsum.commands.single_stage.run_stage", started)
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
    assert done.returncode == 2 and f"{option} is {value}" in done.stderr


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

    monkeypatch.setattr("dialsum.commands.single_stage.run_stage", started)
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
        usual = {p.name: p.default for p in stage_parameters(stage).values()}
        assert begin(stage, dict(usual)).params == usual


def test_a_stage_of_an_experiment_takes_what_its_experiment_was_asked(monkeypatch, tmp_path):
    "A writer may be for another stage of it; the whole was looked at when it was asked for"
    monkeypatch.setenv("DIALSUM_RUN", str(tmp_path))
    given = dict(run=str(tmp_path), augmentation_backend="folder", augmentation_model="m")
    assert begin("data", dict(given)).params["augmentation_model"] == "m"
    with pytest.raises(DialsumError, match="acts only with"):
        begin("data", given | dict(run=str(tmp_path / "another")))
