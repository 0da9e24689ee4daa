"A message names options as its reader types them, and none that the command lacks"

import re

import pytest

from dialsum.checks.finding import Finding
from dialsum.commands.options import parser
from dialsum.pipeline.metrics import METRICS
from dialsum.runs.errors import DialsumError
from dialsum.runs.messages import filled, message, option_word, options_spelled, read_messages
from dialsum.runs.parameters import stage_parameters

CODES = sorted(read_messages())
PARSER = parser()
PARAMETERS = {name for stage in METRICS for name in stage_parameters(stage)}
OF_OTHER_COMMANDS = dict(  # codes that name an option which `preflight` lacks → the command that says them
    licence_not_accepted="real",
    model_of_checkpoint_unclear="predict",
    advice_needs_yes="resume",
    yes_without_advice="resume",
    draft_output_without_add="diagnose",
    export_target_missing="export",
    sbatch_without_slurm="export",
    sbatch_unreadable="export",
    export_holds_key="export",
)
OF_FUNCTIONS = {  # said of a call in Python, whose arguments have such names
    "cache_not_quantized",
    "cache_not_static",
    "instructions_number",
    "option_breaks_tags",
    "option_search_gone",
    "row_counts_differ",
}


def sentences(code: str) -> list[str]:  # in both languages, as somebody reads them who typed options
    with options_spelled("option"):
        return [str(message(code, {}, language)) for language in ("en", "ko")] + [
            text for language in ("en", "ko") for text in vars(message(code, {}, language)).values()
        ]


@pytest.mark.parametrize("code", CODES)
def test_a_message_names_no_option_that_the_command_lacks(code):
    offered = PARSER.options_of(OF_OTHER_COMMANDS.get(code, "preflight"))
    for text in sentences(code):
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) - {"--help"}
        assert named <= set(offered), (code, named - set(offered))
        assert "dialsum run " not in text and not re.search(r"(?<!…) -p (?!run)", text), text


@pytest.mark.parametrize("code", sorted(set(CODES) - OF_FUNCTIONS))
def test_an_english_message_spells_an_option_as_it_is_typed(code):
    with options_spelled("option"):
        parts = vars(message(code, {}))
    names = [name for name in PARAMETERS if "_" in name]
    for text in parts.values():
        plain = re.sub(r"\{[^}]*\}", "", text)  # a field without a value
        bare = [name for name in names if re.search(rf"(?<![\w/.`]){name}(?![\w.])", plain)]
        assert not bare, (code, text)


@pytest.mark.parametrize(
    ("spelling", "words"),
    [
        ("", "max_source --base"),
        ("option", "--max-source --base"),
        ("parameter", "max_source -p base"),
    ],
)
def test_an_option_is_spelled_as_its_reader_types_it(spelling, words):
    template = "{option max_source} {option --base}"
    with options_spelled(spelling):
        assert filled(template, dict(max_source=5)) == words
        assert filled("{name:option} {other:option}", dict(name="max_source", other="--base")) == words
        assert filled("{names:options}", dict(names=words.split()[:1])) == option_word(words.split()[0])
    assert option_word("max_source") == "max_source"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            ("run", "--scale", "replica", "--top-p", "0.9"),
            "--top-p acts only when sampling: give a --temperature",
        ),
        (
            ("stage", "evaluate", "-p", "top_p", "0.9", "-p", "num_beams", "x"),
            "num_beams must be of type int",
        ),
        (("run", "--scale", "replica", "--epochs", "-1"), "--epochs is -1"),
        (("stage", "train", "-p", "epochs", "-1"), ": epochs is -1"),
    ],
    ids=str,
)
def test_each_command_speaks_its_own_words(call, said, typed):
    assert said in typed(*call).stderr


def test_a_finding_says_where_in_the_words_of_its_command():
    finding = Finding.of(DialsumError("option_needs_sampling", option="top_p"), "top_p", "would_stop_stage")
    other = Finding.error("no_pad_token", "tokenizer")
    with options_spelled("option"):
        assert (finding.place, other.place) == ("--top-p", "tokenizer")
        assert finding.remedy == "give a --temperature above 0 as well, or leave --top-p out"
    assert finding.place == "top_p"


@pytest.mark.parametrize("code", ["hub_offline", "hub_unreachable", "hub_without_safetensors"])
def test_missing_weights_are_remedied_in_the_words_of_each_command(code):
    fields = dict(model="kobart", checkpoint="a/b", verb="fetch", command="dialsum fetch kobart")
    with options_spelled("option"):
        assert "`--checkpoint FOLDER`" in message(code, fields).remedy
    with options_spelled("parameter"):
        assert "`-p checkpoint FOLDER`" in message(code, fields).remedy
    assert "`--checkpoint FOLDER`" in message(code, fields, "ko").remedy
