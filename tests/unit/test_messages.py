"""Every code that the package raises or keeps has its words in both languages, and no words are left over"""

import ast
import json
import pickle
import re
import string
import tomllib

import pytest
from support.korean import flaws_of_text
from support.places import ROOT

from dialsum.runs.errors import DialsumError, unknown
from dialsum.runs.messages import LANGUAGES, Phrase, filled, message, read_messages, words

TOP = ROOT
PARTS = {"what", "why", "remedy", "sentence"}


def trees():  # (file, syntax tree) of each module, and of each code cell of a stage notebook
    for path in sorted(TOP.glob("dialsum/**/*.py")):
        if path.name != "_modidx.py":
            yield path, ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(TOP.glob("nbs/*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                yield path, ast.parse("".join(cell["source"]))


def kinds() -> set[str]:
    "The classes of errors that take a code"
    found = {"DialsumError"}
    for _, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and any(
                getattr(b, "id", "") == "DialsumError" for b in node.bases
            ):
                found.add(node.name)
    return found


def is_finding(func) -> bool:  # `Finding.error` or `Finding.warning`
    return getattr(getattr(func, "value", None), "id", "") == "Finding" and func.attr in ("error", "warning")


def raised() -> list[
    tuple[str, str, set[str] | None]
]:  # (where, code, its fields; None where they are not literal)
    "What is given to errors and findings by a literal code"
    found, classes = [], kinds()
    for path, tree in trees():
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call) or not call.args:
                continue
            if getattr(call.func, "id", "") not in classes and not is_finding(call.func):
                continue
            code = call.args[0]
            if isinstance(code, ast.Constant) and str(code.value).isidentifier():
                names = {k.arg for k in call.keywords}
                where = f"{path.relative_to(TOP)}:{call.lineno}"
                found.append((where, code.value, None if None in names else names))
    return found


def fields_of(template: str) -> set[str]:
    names = {name for _, name, _, _ in string.Formatter().parse(template) if name}
    return {name for name in names if not name.startswith("option ")}


def test_every_code_is_said_in_every_language_and_has_its_fields():
    assert raised()
    for where, code, given in raised():
        assert code in read_messages(), f"{where}: messages.toml has no [{code}.en]"
        for language in LANGUAGES:
            wanted = set().union(*map(fields_of, read_messages()[code][language].values()))
            assert given is None or wanted <= given, f"{where}: {code}.{language} wants {wanted - given}"


def test_no_code_is_left_over():
    words = {
        node.value
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not set(read_messages()) - words


def test_every_entry_says_what_is_wrong_in_both_languages():
    for code, languages in read_messages().items():
        assert set(languages) == set(LANGUAGES), code
        for language, parts in languages.items():
            assert {"what"} <= set(parts) <= PARTS, f"{code}.{language}"
        for part in ("why", "remedy"):
            assert (part in languages["en"]) == (part in languages["ko"]), code


# Names of fields that are numbers, or amounts with their unit
NUMBERS = """
accumulation alpha available batch byte cells changed character checkpoints columns common count default dialogues
dropped epochs exit_code extra few fitting fnames fold folds free gpus groups index instructions k least left
limit line lora_alpha lora_r lost max_new_tokens max_source min_new_tokens missing more most n
needed number other_n other_rows percent positions predictions process processes rank ratio references row
rows samples schema spare status step tokens tries turn updates weights writer
"""
# Names of fields that are messages themselves: in every code, or in one
PHRASES = {"answers", "damage", "detail", "fault", "other_backend", "outcome", "place", "refusal", "way_out"}
QUOTING = {
    "adapter_base_not_on_hub": "reason",
    "adapter_base_unusable": "reason",
    "augmentation_backend_unfit": "reason",
    "column_missing": "columns",
    "column_missing_or_named_otherwise": "columns",
    "endpoint_answered_none": "reason",
    "fact_file_invalid": "expected",
    "fact_set_aside": "reason",
    "longest_of_data": "row",
    "batch_too_large": "row",
    "model_does_not_fit": "row",
    "model_does_not_fit_unquantized": "row",
    "parameters_changed": "changes",
    "question_refused": "reason",
    "recipe_line_wrong": "reason",
    "sources_not_here": "reason",
    "step_made_smaller": "row",
    "tta_strategy_unavailable": "reason",
}
FOREIGN = "it says `so` and no more"  # what another program said, or a name that somebody gave
PHRASE = Phrase("key_malformed", dict(variable="KEY")).to_dict()


def sample(code: str, name: str, specs: set[str]):
    "What a field may hold at its worst"
    if name in PHRASES or QUOTING.get(code) == name:
        return [PHRASE, PHRASE] if specs & {"list", "semicolons"} else PHRASE
    if specs & {"list", "and", "or"}:
        return [FOREIGN, FOREIGN]
    if specs & {"semicolons"}:
        return [PHRASE, PHRASE]
    if name in NUMBERS.split() or any(re.search("[,%fg]$", spec) for spec in specs):
        return 3
    return "1 이상" if name.endswith("_ko") else FOREIGN  # what was made for Korean needs no other


def in_korean(code: str) -> dict[str, str]:  # part → text, its fields filled in
    used = {}
    for parts in read_messages()[code].values():
        for template in parts.values():
            for _, name, spec, _ in string.Formatter().parse(template):
                if name:
                    used.setdefault(name, set()).add(spec)
    said = message(code, {name: sample(code, name, specs) for name, specs in used.items()}, "ko")
    return {part: text for part, text in vars(said).items() if text}


def texts_of(name: str) -> dict:  # of a file in nbs/text
    return tomllib.loads((TOP / "nbs" / "text" / f"{name}.toml").read_text(encoding="utf-8"))


def english_in(text: str) -> list[str]:  # three words or more that stand in no code span
    bare = re.sub("`[^`]*`", "", text)
    return re.findall(r"[A-Za-z']+(?:[ ,]+[A-Za-z']+){2,}", bare)


@pytest.mark.parametrize("code", sorted(read_messages()))
def test_no_english_sentence_stands_in_a_korean_one(code):
    for part, text in in_korean(code).items():
        assert not english_in(text), f"{code}.ko {part}: {text}"
        assert text.count("`") % 2 == 0, f"{code}.ko {part}: a code span does not end in {text}"


@pytest.mark.parametrize("code", sorted(read_messages()))
def test_messages_are_written_as_a_colleague_would(code):
    assert [str(flaw) for text in in_korean(code).values() for flaw in flaws_of_text(text)] == []


def test_no_label_and_no_known_failure_holds_an_english_sentence():
    texts = [text for kind in texts_of("labels_ko").values() for text in kind.values()]
    for failure in texts_of("failures")["failure"]:
        texts += [failure["cause"], failure["remedy"]]
    assert not [text for text in texts if english_in(text)]


def test_every_word_that_a_field_holds_has_a_korean_one():
    constants, kinds = set(), []
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant):
                constants.add(node.value)
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "unknown":
                kinds.append((path.name, node.args[0]))
    assert not set(words()) - constants  # none is left over
    for where, kind in kinds:  # what is not there has to be an option's name
        if isinstance(kind, ast.Constant) and not kind.value.isidentifier():
            assert kind.value in words(), f"{where}: words_ko.toml has no '{kind.value}'"
    texts = [text for parts in read_messages().values() for text in parts["ko"].values()]
    assert (
        filled("{kind:word}, {other:word}", dict(kind="model", other="quality_action"))
        == "모델, `quality_action`"
    )
    assert any(":word}" in text for text in texts)


def test_a_field_holds_a_phrase_in_both_languages():
    place = Phrase("row_at_line", dict(row=3, line=4))
    error = DialsumError("dialogue_missing", file="a.csv", place=place)
    assert str(place) == "row 3 (line 4)" and str(error).startswith(
        "'a.csv' has no dialogue in row 3 (line 4):"
    )
    assert error.message("ko").what == "`a.csv`의 3행(4번째 줄)에 대화가 없습니다"
    assert json.loads(json.dumps(error.fields)) == error.fields


@pytest.mark.parametrize(
    ("template", "fields", "expected"),
    [
        ("{n} row{n:s}", dict(n=1), "1 row"),
        ("{n} row{n:s}", dict(n=0), "0 rows"),
        ("{names:list}", dict(names=["a", "b"]), "a, b"),
        ("{name:을/를}", dict(name="KULLM"), "KULLM을"),
        ("{name:`은/는}", dict(name="kobart"), "`kobart`는"),
        ("{n:,}{lost}", dict(n=12457), "12,457{lost}"),
        ("{text}", dict(text="{n} as it is"), "{n} as it is"),
        ("{names:or}, {names:and}", dict(names=["a", "b"]), "a or b, a and b"),
    ],
)
def test_fields_are_filled_in(template, fields, expected):
    assert filled(template, fields) == expected


def test_an_error_quotes_another_one_in_the_same_language():
    error = DialsumError("question_refused", model="m", host="h", reason=DialsumError("answer_empty"))
    assert str(error) == "m at h did not answer (its answer is empty): ask something else, or in other words."
    assert "답이 비어 있습니다" in error.message("ko").what and "{" not in str(error.message("ko"))
    assert json.loads(json.dumps(error.fields)) == error.fields


def test_an_error_comes_whole_out_of_another_process():
    error = unknown("model", "qwen-4b", ["kobart", "qwen3-4b"])
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.code, again.fields) == (str(error), error.code, error.fields)
    assert isinstance(again, DialsumError)
