"The help: by topic, each line readable alone, what stands for a value, each default once"

import argparse
import re

import pytest

from dialsum.commands.option_help import METAVARS, OPTION_CHOICES, TOPICS, metavar, text_and_default
from dialsum.commands.options import parser, plan_parameters
from dialsum.pipeline.metrics import METRICS
from dialsum.runs.errors import DialsumError
from dialsum.runs.parameters import Parameter, stage_parameters

OF_THE_CALL = (
    "config",
    "save_config",
    "json",
    "cold",
    "on",
    "strict",
    "advice",
    "yes",
    "runs",
    "stage_timeout",
)
EXPERIMENTS = ("demo", "real", "run", "preflight", "resume")
COMMANDS = next(a for a in parser()._actions if a.dest == "command").choices
OPTIONS = [
    pytest.param(name, action, id=f"{name} {action.option_strings[0]}")
    for name, command in COMMANDS.items()
    for action in command._actions
    if action.option_strings and action.dest != "help"
]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_option_of_an_experiment_stands_under_its_topic(name):
    groups = {g.title: [a.dest for a in g._group_actions] for g in COMMANDS[name]._action_groups}
    assert groups.pop("options") == ["help"]
    assert groups.pop("positional arguments") == (["experiment"] if name == "resume" else [])
    assert list(groups) == list(TOPICS)
    for topic, options in groups.items():
        assert options == [option for option in TOPICS[topic].split() if option in options]


def test_every_topic_has_its_options_once_and_none_is_left_over():
    named = [option for options in TOPICS.values() for option in options.split()]
    offered = {a.dest for name in EXPERIMENTS for a in COMMANDS[name]._actions}
    assert len(named) == len(set(named))
    assert set(named) == offered - {"help", "experiment"}
    assert set(plan_parameters()) <= set(named)


@pytest.mark.parametrize(("command", "action"), OPTIONS)
def test_a_default_is_said_once_and_never_as_code(command, action):
    text = action.help % vars(action) if "%(" in action.help else action.help
    assert not re.search(r"''|\bNone\b|\bTrue\b|\bFalse\b|; empty for|\(default: \)", text)
    kept = command == "resume" and action.dest not in OF_THE_CALL  # what the experiment has
    if action.required or kept or (command, action.dest) == ("stage", "parameter"):
        assert "default:" not in text
        return
    assert text.count("(default: ") == 1 and text.endswith(")")


@pytest.mark.parametrize(("command", "action"), OPTIONS)
def test_other_options_are_named_as_they_are_typed(command, action):
    names = [name for options in TOPICS.values() for name in options.split() if "_" in name]
    assert [name for name in names if re.search(rf"(?<![-\w]){name}(?!\w)", action.help)] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_is_broken_over_two_lines(name):
    assert not re.search(r"--[a-z-]*-$", COMMANDS[name].format_help(), re.M)


@pytest.mark.parametrize(("command", "action"), OPTIONS)
def test_a_value_is_called_what_it_is(command, action):
    if action.nargs == 0:
        return
    words = action.metavar if isinstance(action.metavar, tuple) else (action.metavar,)
    for word in words:
        assert word and word not in ("STR", "INT", "FLOAT", "TEXT", "VALUES"), word
        assert word == "MODEL" or word.lower() not in (action.dest, action.dest.split("_")[-1] + "s"), word


BACKWARDS = (
    "of",
    "its",
    "it",
    "their",
    "them",
    "that",
    "which",
    "separated",
)  # what goes on from another line


def readable_alone(text: str) -> bool:
    words = re.findall(r"[\w'-]+", text)
    return len(words) > 2 and words[0] not in BACKWARDS


def test_every_line_of_a_parameters_cell_can_be_read_alone():
    for stage in METRICS:
        for name, p in stage_parameters(stage).items():
            assert readable_alone(p.help), f"{stage}: {name}: {p.help}"
    assert not readable_alone("of everything random") and not readable_alone("its project there")


@pytest.mark.parametrize("name", COMMANDS)
def test_no_line_is_wider_than_the_terminal(name, monkeypatch, typed):
    monkeypatch.setenv("COLUMNS", "80")
    shown = typed(name, "--help")
    assert shown.returncode == 0 and shown.stdout.startswith(f"usage: dialsum {name}")
    assert not [line for line in shown.stdout.splitlines() if len(line) > 80]
    usage = shown.stdout.partition("\n\n")[0]
    assert not re.search(r"\[--(?!json)[a-z]", usage)  # options are explained, not listed


def refused(call) -> set[str]:  # the words that a refusal offers
    with pytest.raises(DialsumError) as error:
        call()
    return set(error.value.fields["known"])


def test_the_words_that_an_option_takes_are_those_that_the_code_takes():
    from dialsum.api.chat_prompts import STRATEGIES
    from dialsum.augment.methods import METHODS
    from dialsum.augment.prepare import check_data
    from dialsum.commands.export import SCRIPTS
    from dialsum.ensemble.mbr import UTILITIES
    from dialsum.generation.augmentation import TTA_STRATEGIES
    from dialsum.generation.choices import CHOICES
    from dialsum.generation.engines import ENGINES
    from dialsum.generation.search import MEASURED
    from dialsum.models.precision import TRAINING_METHODS, WISHES
    from dialsum.pipeline.plan import MEMBERS, MODES
    from dialsum.pipeline.rules import check_systems
    from dialsum.pipeline.submission import SUBMISSION_METRICS
    from dialsum.scores.tokenizers import TOKENIZERS
    from dialsum.training.speedups import SPEEDUPS

    of_code = dict(
        mode=MODES,
        scale=("full", "replica"),
        metric=SUBMISSION_METRICS,
        quality_action=refused(lambda: check_data(dict(validate_data_quality=True, quality_action="x"))),
        augmentation_methods=METHODS,
        method=TRAINING_METHODS,
        precision=WISHES,
        speedups=SPEEDUPS,
        length_control=CHOICES,
        whole_sentences=CHOICES,
        tta_strategies=TTA_STRATEGIES,
        ensemble_strategy=refused(lambda: check_systems(dict(ensemble_strategy="x"))),
        ensemble_members=MEMBERS,
        utility=UTILITIES,
        prompt_strategy=STRATEGIES,
        engine=("auto", *ENGINES),
        optimization_method=("auto", *MEASURED),
        tokenizer=TOKENIZERS,
        to=SCRIPTS,
    )
    for name, words in of_code.items():
        assert set(OPTION_CHOICES[name].split()) == set(words), name
    assert OPTION_CHOICES.keys() - of_code.keys() == {"tags", "multi"}


def test_no_word_stands_for_a_value_of_no_option():
    offered = {action.dest for command in COMMANDS.values() for action in command._actions}
    assert not set(METAVARS) - offered and not set(OPTION_CHOICES) - offered


@pytest.mark.parametrize(
    ("help", "default", "expected"),
    [
        ("passes; 0 for the card's own", 0, ("passes", "0 for the card's own")),
        ("share; -1 for the card's own", -1.0, ("share", "-1 for the card's own")),
        ("passes; 0 for never", 3, ("passes; 0 for never", "3")),
        ("numbers: a, b; empty for what fits", "", ("numbers: a, b", "what fits")),
        ("words; empty for none that is", "x", ("words; empty for none that is", "x")),
        ("extra epochs; changing it retrains", 0, ("extra epochs; changing it retrains", "0")),
        ("look", False, ("look", "no")),
        ("rate", 5e-5, ("rate", "5e-05")),
        ("words", "", ("words", "none")),
    ],
)
def test_the_end_of_a_help_text_becomes_the_default(help, default, expected):
    assert text_and_default(Parameter("x", type(default), default, help)) == expected


def test_several_values_are_one_word_and_an_ellipsis(typed):
    shown = typed("run", "--help").stdout
    assert "--models MODEL …" in shown and "[MODEL ...]" not in shown
    assert "--utility rouge|chrf" in shown and metavar("learning_rate", float) == "RATE"


def test_an_option_of_argparse_s_own_groups_is_only_the_help():
    for command in COMMANDS.values():
        assert isinstance(command, argparse.ArgumentParser) and command.usage
