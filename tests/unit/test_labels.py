"""Whatever the report asks a Korean label for is in labels_ko.toml, and nothing there is left over"""

import ast
import tomllib
from collections import defaultdict
from string import Formatter

from support.places import ROOT

from dialsum.ensemble.mbr import UTILITIES
from dialsum.models.precision import TRAINING_METHODS
from dialsum.report.advice_values import VALUES
from dialsum.report.figures import FIGURES
from dialsum.report.labels import labels_of
from dialsum.report.verdicts import MOVES
from dialsum.runs.checkout import nbs_path
from dialsum.runs.parameters import stages
from dialsum.scores.damage import DAMAGE_LIMITS
from dialsum.scores.scorer import ROUGE_TYPES
from dialsum.scores.summary_errors import FAULTS

PACKAGE = ROOT / "dialsum"
FILE = tomllib.loads((nbs_path() / "text" / "labels_ko.toml").read_text(encoding="utf-8"))


def kind_of(node) -> str | None:
    "'stage' of labels_of('stage')"
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "labels_of":
        return node.args[0].value
    return None


def asked() -> tuple[set[str], list[tuple[str, str]]]:
    "The kinds that the package asks for, and the literal keys of them, also by the names that they were given"
    kinds, keys, names = set(), [], {}
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))]
    for node in (node for tree in trees for node in tree.body):
        if isinstance(node, ast.Assign) and kind_of(node.value):
            names[node.targets[0].id] = kind_of(node.value)
    for node in (node for tree in trees for node in ast.walk(tree)):
        kinds.add(kind_of(node))
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            keys.append((kind_of(node.value) or names.get(getattr(node.value, "id", "")), node.slice.value))
    return kinds - {None}, [(kind, key) for kind, key in keys if kind]


def test_every_kind_is_there_and_none_is_left_over():
    assert asked()[0] == set(FILE)


def test_every_literal_key_is_there():
    assert asked()[1]
    for kind, key in asked()[1]:
        assert key in labels_of(kind), f"{kind} has no {key}"


def test_every_label_is_a_text():
    for kind, texts in FILE.items():
        may_be_empty = kind == "diagnostic_meaning"  # a broken tag needs no meaning
        assert texts and all(isinstance(text, str) and (text or may_be_empty) for text in texts.values()), (
            kind
        )


def test_the_keys_are_those_that_facts_have():
    for part in ("", "_wrong", "_meaning"):
        assert set(labels_of(f"diagnostic{part}")) == set(DAMAGE_LIMITS)
    assert [*labels_of("rouge")] == [*ROUGE_TYPES, "mean"]
    assert set(labels_of("utility")) == set(UTILITIES) and set(labels_of("method")) == set(TRAINING_METHODS)
    assert set(labels_of("stage")) == set(stages()) - {"report"}
    assert set(labels_of("figure")) == set(FIGURES)
    assert set(labels_of("advice")) == {key for moves in MOVES.values() for _, key in moves}
    assert set(labels_of("advised")) == set(MOVES) - set(FAULTS)
    sentences = labels_of("advice").values()
    named = {name for sentence in sentences for _, name, _, _ in Formatter().parse(sentence) if name}
    assert named == set(VALUES) == set(labels_of("advice_value"))


def test_an_option_is_called_the_same_everywhere():
    of_options = ("option", "recipe", "decoding", "fitted", "factor", "precision")
    names = defaultdict(set)
    for kind in of_options:
        for option, name in FILE[kind].items():
            names[option].add(name)
    assert {option: found for option, found in names.items() if len(found) > 1} == {}
    assert set(FILE["decoding"]) | set(FILE["recipe"]) <= set(FILE["option"])  # what is settled is an option


def test_every_sentence_of_a_verdict_has_its_place():
    source = (PACKAGE / "report" / "verdicts.py").read_text(encoding="utf-8")
    written = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    assert [key for key in labels_of("verdict") if key not in written] == []
    rules = {node.args[0].value for node in ast.walk(ast.parse(source)) if is_verdict(node)}
    assert rules == set(labels_of("rule"))


def is_verdict(node) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_judgement"
