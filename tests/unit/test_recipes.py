"Recipes: the same names, types and limits as typed options, and a saved one asks for the same"

import argparse
import json

import pytest

from dialsum.commands.options import LISTS, parser, plan_parameters
from dialsum.commands.recipes import read_recipe, recipe_text, save_recipe
from dialsum.commands.request import (
    PLAN_SWITCHES,
    Request,
    absolute_paths,
    experiment_options,
    given_checkpoints,
    recipe_options,
)
from dialsum.report.comparison.changes import changed_options
from dialsum.report.experiment import Experiment
from dialsum.report.labels import labels_of
from dialsum.report.sections.request import section_request
from dialsum.report.settings import options_by_origin
from dialsum.runs.errors import DialsumError
from dialsum.runs.limits import LIMITS
from dialsum.runs.records import ExperimentRecord

NOT_IN_RECIPES = (
    "help",
    "config",
    "save_config",
    "accept_licence",
    "advice",
    "yes",
    "cold",
    "on",
    "strict",
    "json",
)
ODD_TEXTS = [
    "off",
    "010",
    "1e3",
    "null",
    "~",
    "yes",
    "a: b",
    "# c",
    "'",
    '"',
    "- x",
    "{y}",
    "줄\n바꿈",
    "한글",
    " x ",
    "😀",
    "\\",
]


def read(tmp_path, text, command="run", limits=True):
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return read_recipe(path, parser().command(command), limits)


def refusal(tmp_path, text, command="run") -> str:
    with pytest.raises(DialsumError) as refused:
        read(tmp_path, text, command)
    return str(refused.value).replace(str(tmp_path), "…")


def called(words, command="run", **defaults) -> argparse.Namespace:
    top = parser()
    top.command(command).set_defaults(**defaults)
    return top.parse_args([command, *words], argparse.Namespace(typed="dialsum …"))


def asked(args) -> Request:  # what an experiment would keep, but for the checks and the place of its report
    models, scale, mode, options = experiment_options(args)
    whole = dict(command=args.typed, mode=mode, models=models, scale=scale, workers=args.workers)
    whole |= dict(checkpoints=given_checkpoints(args, models), reports="")
    whole |= dict(rehearse=getattr(args, "rehearse", args.command != "demo"))
    whole |= {name: getattr(args, name, False) for name in PLAN_SWITCHES}
    return Request(whole | absolute_paths(options), {}, True)


def again(request, args, tmp_path) -> argparse.Namespace:  # as `--config` of what `--save-config` wrote
    path = save_recipe(tmp_path / "saved.yaml", recipe_options(args, request.options))
    return called([], **read_recipe(path, parser().command("run")))


def plan(request, run):
    return [(s.key, s.params, s.needs, s.after) for s in request.stages(run)]


def usual_number(name: str) -> float:
    return next(n for n in (1, 2, 0.5) if LIMITS[name].hold(n))


def words_of(action: argparse.Action) -> list[str]:  # how a value that is not the usual one is typed
    name, option = action.dest, action.option_strings[0]
    own = dict(
        models=["qwen3-4b", "solar-10.7b"],
        mode=["full"],
        scale=["replica"],
        checkpoint=["kobart=/models/mine"],
        experiment_name=["my name: 1"],
        workers=["3"],
        stage_timeout=["60"],
        runs=["some/runs"],
        reports=["some/reports"],
    )
    if name in own:
        return [option, *own[name]]
    parameter = plan_parameters().get(name)
    if parameter is None or parameter.type is bool:
        return [option]
    if name in LISTS:
        return [option, "a=b", "c=d"] if name == "columns" else [option, "mask", "window"]
    return [option, "x" if parameter.type is str else str(usual_number(name))]


OPTIONS = {name: a for name, a in parser().command("run").actions().items() if name not in NOT_IN_RECIPES}


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_comes_back_from_a_saved_recipe(name, tmp_path):
    args = called(words_of(OPTIONS[name]))
    request = asked(args)
    same = again(request, args, tmp_path)
    assert asked(same).options | dict(reports="") == request.options | dict(reports="")
    assert plan(asked(same), tmp_path) == plan(request, tmp_path)
    for own in ("workers", "stage_timeout", "experiment_name"):
        assert getattr(same, own, None) == getattr(args, own, None)
    for folder in ("runs", "reports"):
        assert hasattr(same, folder) == hasattr(args, folder)
        assert not hasattr(args, folder) or getattr(same, folder) == getattr(args, folder).absolute()


@pytest.mark.parametrize("name", [name for name, a in OPTIONS.items() if len(a.option_strings) > 1])
def test_a_switch_that_is_off_stays_off(name, tmp_path):
    if name == "experiment_name":
        return
    args = called([OPTIONS[name].option_strings[1]])
    assert asked(again(asked(args), args, tmp_path)).options == asked(args).options


def test_everything_at_once_comes_back(tmp_path):
    words = [word for action in OPTIONS.values() for word in words_of(action)]
    words[words.index("kobart=/models/mine")] = "qwen3-4b=/models/mine"
    args = called(words)
    request = asked(args)
    assert len(plan(request, tmp_path)) > 20
    assert plan(asked(again(request, args, tmp_path)), tmp_path) == plan(request, tmp_path)


@pytest.mark.parametrize("command", ["demo", "real", "run", "preflight"])
def test_what_a_command_adds_is_in_its_recipe(command, tmp_path):
    args = called([], command)
    request = asked(args)
    assert asked(again(request, args, tmp_path)).options == request.options


@pytest.mark.parametrize("text", ODD_TEXTS, ids=json.dumps)
def test_a_text_comes_back_as_it_was(text, tmp_path):
    options = dict(experiment_name=text, wandb_project=text, new_tokens=f"{text},b")
    assert read(tmp_path, recipe_text(options)) == options


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("epochs: 3", dict(epochs=3)),
        ("batch-size: 8", dict(batch_size=8)),
        ("batch_size: '8'", dict(batch_size=8)),
        ("learning_rate: 1e-4", dict(learning_rate=1e-4)),
        ("whole_sentences: off", dict(whole_sentences="off")),
        ("use_tta: true", dict(use_tta=True)),
        ("use_wandb: false", dict(use_wandb=False)),
        ("seed: 010", dict(seed=10)),
        ("models: all", dict(models=["all"])),
        ("models: [kobart, solar]", dict(models=["kobart", "solar"])),
        ("models:\n- kobart\n- solar", dict(models=["kobart", "solar"])),
        ("tta_strategies: [mask, window]", dict(tta_strategies="mask,window")),
        ("tta_strategies: mask,window", dict(tta_strategies="mask,window")),
        ("columns: {dialogue: 대화, summary: 요약}", dict(columns="dialogue=대화,summary=요약")),
        ("checkpoint: {kobart: /models/a}", dict(checkpoint=["kobart=/models/a"])),
        ("checkpoint: /models/a", dict(checkpoint=["/models/a"])),
        ("name: mine", dict(experiment_name="mine")),
        ("workers: 2  # at once", dict(workers=2)),
        ("ensemble_strategy:", dict(ensemble_strategy="")),
        ("mode: full", dict(mode="full")),
        ("\ufeffepochs: 3", dict(epochs=3)),
    ],
    ids=repr,
)
def test_a_value_means_what_it_means_when_it_is_typed(text, expected, tmp_path):
    assert read(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "models: kobart\nlearnig_rate: 1",
            "line 2: unknown option of run 'learnig_rate', did you mean 'learning_rate'?",
        ),
        ("# one\n\nepochs: many", "line 3: epochs must be of type int"),
        ("seed: 1\nepochs: -1", "line 2: epochs is -1: 0 (the default) or a number of at least 1"),
        ("warmup_ratio: 1", "line 1: warmup_ratio is 1.0: a number from 0 to below 1"),
        ("use_tta: yes", "line 1: use_tta must be of type bool"),
        ("mode: fast", "line 1: unknown mode 'fast'"),
        ("scale: replicas", "did you mean 'replica'?"),
        ("workers: -1", "line 1: --workers is -1"),
        ("epochs: 1\nepochs: 2", "line 2: epochs stands here a second time"),
        ("batch_size: 1\nbatch-size: 2", "line 2: batch-size stands here a second time"),
        ("epochs: [1, 2]", "line 1: the value of epochs is no word"),
        ("models: [[kobart]]", "line 1: the value of models is no word"),
        ("models: []", "line 1: the value of models is no word"),
        ("columns: {dialogue: [a]}", "line 1: the value of columns is no word"),
        ("accept_licence: true", "line 1: accept_licence is for the command line alone"),
        ("config: other.yaml", "line 1: config is for the command line alone"),
        ("<<: {epochs: 1}", "line 1: unknown option of run '<<'"),
        ("epochs: [1", "line 1 is no YAML"),
        ("epochs: 1\n---\nepochs: 2", "no YAML"),
        ("- epochs", "holds no names of options"),
        ("", "holds no names of options"),
        ("epochs: \x00", "no YAML"),
    ],
    ids=repr,
)
def test_a_slip_is_said_with_file_and_line(text, said, tmp_path):
    told = refusal(tmp_path, text)
    assert told.startswith("'…/recipe.yaml'") and said in told and len(told.splitlines()) == 1


def test_a_file_that_is_not_there_or_no_text_is_one_sentence(tmp_path):
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "bytes.yaml"):
        with pytest.raises(DialsumError, match="cannot read the recipe"):
            read_recipe(path, parser().command("run"))


def test_resume_passes_over_what_an_experiment_has_since_it_began(tmp_path):
    text = "mode: full\nexperiment_name: other\nnum_beams: 2"
    assert read(tmp_path, text, "resume") == dict(num_beams=2)
    assert "unknown option of resume" in refusal(tmp_path, "modes: full", "resume")


def test_a_preflight_takes_a_number_out_of_range_as_a_finding(tmp_path):
    assert read(tmp_path, "epochs: -1", "preflight", limits=False) == dict(epochs=-1)


@pytest.fixture
def started(monkeypatch):
    "The experiments that would have been started: (what was asked, what experiment.json says)"
    requests = []

    def execute(request, run, *_, **__):
        record = ExperimentRecord.model_validate_json((run / "experiment.json").read_text())
        requests.append((request, record))
        return 0

    monkeypatch.setattr("dialsum.commands.experiments._execute", execute)
    return requests


def test_the_command_line_wins(typed, started, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("models: kobart\nscale: replica\nepochs: 2\nnum_beams: 2\nuse_tta: true")
    words = ["--runs", tmp_path / "runs", "--reports", tmp_path / "reports"]
    done = typed("run", "--config", recipe, "--epochs", "5", "--no-use-tta", *words)
    assert done.returncode == 0, done.stderr
    [(request, record)] = started
    wanted = dict(models=["kobart"], scale="replica", epochs=5, num_beams=2, use_tta=False)
    assert {name: request.options[name] for name in wanted} == wanted
    assert list(record.recipe) == [str(recipe)] and record.options == request.options


def test_what_a_recipe_asks_for_was_asked_for_even_where_it_would_be_so_anyway(typed, started, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("scale: full\nworkers: 2\nuse_tta: false\nrehearse: true\nnum_beams: 2")
    words = ["--scale", "replica", "--epochs", "1", "--runs", tmp_path / "runs", "--reports", tmp_path]
    for config in (["--config", recipe], ["--num-beams", "2"]):
        done = typed("run", "--models", "kobart", *config, *words)
        assert done.returncode == 0, done.stderr
    of_recipe, of_words = (options_by_origin(record) for _, record in started)
    assert of_recipe[0].keys() - of_words[0].keys() == {"workers", "use_tta", "rehearse"}
    assert set(of_words[0]) == {"models", "scale", "epochs", "num_beams"}
    assert {**of_recipe[0], **of_recipe[1]} == {**of_words[0], **of_words[1]}


def test_what_the_program_adds_nobody_gave(typed, started, tmp_path):
    words = ["--runs", tmp_path / "runs", "--reports", tmp_path]
    assert typed("demo", "--debug", *words).returncode == 0
    [(_, record)] = started
    assert record.given == ["debug", "reports"] and record.options["epochs"] == 1
    assert set(options_by_origin(record)[0]) == {"debug"}


def test_an_attempt_notes_what_was_given_to_it(typed, started, tmp_path):
    words = ["--runs", tmp_path / "runs"]
    typed("run", "--models", "kobart", "--scale", "replica", "--name", "mine", "--reports", tmp_path, *words)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("num_beams: 2\nrehearse: true")
    done = typed("resume", "mine", "--config", recipe, *words)
    assert done.returncode == 0, done.stderr
    record = started[-1][1]
    [attempt] = record.attempts
    assert attempt.given == ["num_beams", "rehearse"] and list(attempt.changed) == ["num_beams"]
    assert set(options_by_origin(record)[0]) == {"models", "scale", "num_beams", "rehearse"}


def test_the_report_lists_what_a_recipe_gave():
    options = dict(command="dialsum run --config a.yaml", models=["kobart"], use_tta=False, workers=2)
    record = ExperimentRecord(options=options, given=["models", "use_tta"])
    given, _, automatic = section_request(Experiment("x", record, [])).partition("자동")
    assert "--use-tta" in given and "--models" in given and "--workers" not in given
    assert labels_of("option")["workers"] in automatic


def test_a_comparison_does_not_call_a_default_what_a_recipe_gave():
    options = dict(models=["kobart"], ensemble_strategy="")
    records = [
        ExperimentRecord(options=options | dict(use_tta=tta), given=["models", "use_tta"])
        for tta in (False, True)
    ]
    changes = changed_options([Experiment("x", record, []) for record in records])
    assert [(change.option, change.values) for change in changes] == [("use_tta", ["아니요", "예"])]


def test_a_call_that_is_saved_makes_the_same_experiment(typed, started, tmp_path):
    recipe = tmp_path / "saved.yaml"
    words = [
        "--models",
        "kobart",
        "--scale",
        "replica",
        "--epochs",
        "2",
        "--tta-strategies",
        "mask",
        "window",
    ]
    words += ["--use-tta", "--reports", tmp_path / "reports", "--name", "mine"]
    done = typed("run", *words, "--runs", tmp_path / "runs", "--save-config", recipe)
    assert done.returncode == 0 and str(recipe) in done.stderr
    done = typed("run", "--config", recipe)
    assert done.returncode == 0, done.stderr
    (first, _), (second, record) = started
    assert second.options | dict(command="") == first.options | dict(command="")
    assert record.experiment.partition("_mine")[1] and len(list((tmp_path / "runs").iterdir())) == 2


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("recipe.yaml", "which is read, and would be written over: give --save-config another name"),
        ("", "is a folder: give --save-config the name of a file"),
        ("no/such/recipe.yaml", "there is no folder"),
    ],
)
def test_a_recipe_is_not_written_where_it_would_harm(place, said, typed, started, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("# mine\nscale: replica\n")
    words = ["--runs", tmp_path / "runs", "--reports", tmp_path / "reports"]
    done = typed("run", "--config", recipe, "--save-config", tmp_path / place, *words)
    assert done.returncode == 2 and said in done.stderr and not started
    assert recipe.read_text() == "# mine\nscale: replica\n" and not (tmp_path / "runs").exists()


def test_an_unknown_name_starts_nothing(typed, started, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("scale: replica\nepoch: 2\n")
    done = typed("run", "--config", recipe, "--runs", tmp_path / "runs")
    assert done.returncode == 2 and f"'{recipe}', line 2: unknown option of run 'epoch'" in done.stderr
    assert not started and len(done.stderr.strip().splitlines()) == 1


def test_a_stage_takes_what_is_its_own(typed, tmp_path, monkeypatch):
    specs = []

    def run(spec):
        specs.append(spec)
        raise DialsumError("not_here")

    monkeypatch.setattr("dialsum.commands.single_stage.run_stage", run)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("models: kobart\nscale: replica\nepochs: 2\nnum_beams: 4\nseed: 7\nmode: single")
    typed("stage", "train", "--config", recipe, "-p", "epochs", "3", "--runs", tmp_path / "runs")
    typed("stage", "evaluate", "--config", recipe, "--runs", tmp_path / "runs")
    train, evaluate = specs
    assert (train.model, train.params["epochs"], train.params["seed"]) == ("kobart", 3, 7)
    assert evaluate.params["num_beams"] == 4 and "epochs" not in evaluate.params
