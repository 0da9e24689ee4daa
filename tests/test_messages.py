"""Every code that the package raises or keeps has its words in both languages, and no words are left over"""

import ast
import json
import pickle
import string
from pathlib import Path

import pytest

from dialsum.runs.errors import DialsumError, unknown
from dialsum.runs.messages import LANGUAGES, filled, messages

TOP = Path(__file__).parent.parent
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
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def test_every_code_is_said_in_every_language_and_has_its_fields():
    assert raised()
    for where, code, given in raised():
        assert code in messages(), f"{where}: messages.toml has no [{code}.en]"
        for language in LANGUAGES:
            wanted = set().union(*map(fields_of, messages()[code][language].values()))
            assert given is None or wanted <= given, f"{where}: {code}.{language} wants {wanted - given}"


def test_no_code_is_left_over():
    words = {
        node.value
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert not set(messages()) - words


def test_every_entry_says_what_is_wrong_in_both_languages():
    for code, languages in messages().items():
        assert set(languages) == set(LANGUAGES), code
        for language, parts in languages.items():
            assert {"what"} <= set(parts) <= PARTS, f"{code}.{language}"
        for part in ("why", "remedy"):
            assert (part in languages["en"]) == (part in languages["ko"]), code


@pytest.mark.parametrize(
    ("template", "fields", "expected"),
    [
        ("{n} row{n:s}", dict(n=1), "1 row"),
        ("{n} row{n:s}", dict(n=0), "0 rows"),
        ("{names:list}", dict(names=["a", "b"]), "a, b"),
        ("{name:을/를}", dict(name="KULLM"), "KULLM을"),
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
