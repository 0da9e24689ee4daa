"""What the notebook of dialsum.scores.rouge cannot say of itself: equality over many random texts, the real data, files in any order"""

import json
import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mecab import MeCab
from support.places import SHARED
from support.rouge import WORDS, plain, texts

from dialsum.korean.tags import broken_tags, foreign, invented_tags
from dialsum.runs.errors import DialsumError
from dialsum.runs.files import to_json
from dialsum.scores.baselines import lead2
from dialsum.scores.files import score_files
from dialsum.scores.rouge import rouge
from dialsum.scores.scorer import ROUGE_TYPES
from dialsum.scores.tokenizers import UNREADABLE, make_tokenizer

DEV = SHARED / "data" / "kodialogsum" / "dev.csv"


MORPHS = MeCab().morphs


needs_data = pytest.mark.skipif(
    not DEV.is_file(),
    reason="needs the Korean DialogSum in ../shared/data, which is not part of the repository",
)


@pytest.fixture
def files(tmp_path):
    "references of 20 dialogues (with the dialogues), predictions in the same order, and a function that writes changed predictions"
    rng = random.Random(3)
    sentences = [" ".join(rng.sample(WORDS[:20], 8)) for _ in range(40)]
    references = pd.DataFrame(
        dict(
            fname=[f"dev_{3 * i}" for i in range(20)],
            dialogue=[f"#Person1#: {s}\n#Person2#: 네.\n#Person1#: 응." for s in sentences[:20]],
            summary=sentences[:20],
        )
    )
    predictions = pd.DataFrame(dict(fname=references["fname"], summary=sentences[20:]))
    references.to_csv(tmp_path / "references.csv", index=False)

    def write(frame, name="predictions.csv", index=False, encoding="utf-8"):
        frame.to_csv(tmp_path / name, index=index, encoding=encoding)
        return tmp_path / name

    return references, predictions, write, tmp_path / "references.csv"


@settings(max_examples=500, deadline=None)
@given(
    st.text(
        st.sampled_from("가나다는을를 ab1#.\t\n\r\x0b\x0c\x1c\x85\u2028\u3000\u200b😀ᄒ\x01\"',")
        | st.characters(),
        max_size=40,
    )
)
def test_morphemes_are_those_of_mecab_itself(text):
    "Which is asked for surfaces alone; what it cannot read is U+FFFD in both"
    readable = UNREADABLE.sub("\ufffd", text)
    assert make_tokenizer("mecab").tokenize(text) == MORPHS(readable)


def test_whole_tags_equal_to_rouge_score():
    morphs = MeCab().morphs

    def cut(text):  # by hand, not by the module's regular expression
        tokens, rest = [], text
        while "#Person" in rest or "#PhoneNumber#" in rest:
            start, tag = min(
                (rest.find(t), t)
                for t in ("#Person1#", "#Person2#", "#Person3#", "#PhoneNumber#")
                if t in rest
            )
            tokens += [*morphs(rest[:start]), tag]
            rest = rest[start + len(tag) :]
        return tokens + morphs(rest)

    predictions, references = [[t.replace("#Ferson1#", "") for t in texts(300, seed)] for seed in (3, 4)]
    found = rouge(predictions, references, tags="whole").per_dialogue[:, :3]
    assert np.abs(found - plain(cut, predictions, references)).max() < 1e-9


@needs_data
@pytest.mark.parametrize(
    ("tags", "null", "lead"),
    [("split", (32.6, 16.7, 27.2), (32.7, 14.4, 25.1)), ("whole", (24.9, 5.2, 19.5), (26.7, 5.5, 20.1))],
)
def test_real_references_give_the_known_null_and_lead_2(tags, null, lead):
    dev = pd.read_csv(DEV)[:250]
    references = list(dev["summary"])
    shuffled = references[:]
    random.Random(1).shuffle(shuffled)
    table = rouge(shuffled, references, tags=tags, dialogues=dev["dialogue"])
    for row, known in (
        ("score", null),
        ("null", null),
        ("lead2", lead),
    ):  # known: measured on 499; these are 250 of them
        assert [table.rows[row][k].f for k in ROUGE_TYPES] == pytest.approx(known, abs=1.5), row
    assert "is no better than the null" in table.warnings[0] and len(table.warnings) == 1


@needs_data
def test_real_references_hold_nothing_to_warn_of():
    dev = pd.read_csv(DEV)
    table = rouge(dev["summary"], dev["summary"], dialogues=dev["dialogue"])
    assert table.warnings == [] and table.rows["score"]["mean"] == (100, 100, 100)
    assert {k: v for k, v in table.diagnostics.items() if v} == {"length_ratio": 1}


def test_score_files_does_not_depend_on_order(files):
    references, predictions, write, path = files
    one = score_files(write(predictions), path)
    shuffled = write(references.sample(frac=1, random_state=1), "other.csv")
    two = score_files(
        write(predictions.sample(frac=1, random_state=2), index=True, encoding="utf-8-sig"), shuffled
    )
    assert (
        one.to_dict() == two.to_dict()
        and (one.per_dialogue == two.per_dialogue).all()
        and one.fnames == two.fnames
    )
    by_hand = rouge(predictions["summary"], references["summary"], dialogues=references["dialogue"])
    assert (
        one.rows["score"]["mean"].f == pytest.approx(by_hand.rows["score"]["mean"].f)
        and one.rows["lead2"] is not None
    )
    assert sorted(one.per_dialogue[:, 0]) == sorted(by_hand.per_dialogue[:, 0])


def test_missing_extra_and_repeated_predictions_are_refused(files):
    _, predictions, write, path = files
    with pytest.raises(DialsumError, match=r"20 references .* 4 missing \(dev_0, dev_3, dev_6 …\)"):
        score_files(write(predictions[4:]), path)
    more = pd.concat([predictions, pd.DataFrame(dict(fname=["dev_1"], summary=["네"]))])
    with pytest.raises(DialsumError, match=r"1 extra \(dev_1\)"):
        score_files(write(more), path)
    with pytest.raises(DialsumError, match=r"1 missing \(dev_6\) and 1 extra \(dev_x\)"):
        score_files(write(predictions.replace("dev_6", "dev_x")), path)
    with pytest.raises(DialsumError, match="'dev_0' twice"):
        score_files(write(pd.concat([predictions, predictions[:1]])), path)
    with pytest.raises(DialsumError, match="no column 'summary'"):
        score_files(write(predictions[["fname"]]), path)
    with pytest.raises(DialsumError, match="20 missing"):
        score_files(write(predictions[:0]), path)


def test_empty_predictions_count_as_0(files):
    _, predictions, write, path = files
    full = score_files(write(predictions), path)
    table = score_files(write(predictions.assign(summary=["", *predictions["summary"][1:]])), path)
    assert table.per_dialogue[table.fnames.index("dev_0")].tolist() == [0, 0, 0, 0] and table.n == 20
    assert "5.0% of the predictions are empty" in " ".join(table.warnings) and "are empty" not in " ".join(
        full.warnings
    )
    none = score_files(write(predictions.assign(summary="")), path)
    assert (
        none.rows["score"]["mean"] == (0, 0, 0)
        and none.diagnostics["empty"] == 1
        and none.diagnostics["length_ratio"] == 0
    )


def test_several_references_mean_or_max(files):
    references, predictions, write, _path = files
    extra = texts(20, 9)
    per = [rouge(predictions["summary"], r).per_dialogue[:, :3] for r in (references["summary"], extra)]
    both = list(zip(references["summary"], extra))
    assert np.allclose(rouge(predictions["summary"], both).per_dialogue[:, :3], np.mean(per, 0))
    assert np.allclose(rouge(predictions["summary"], both, multi="max").per_dialogue[:, :3], np.max(per, 0))
    three = write(
        references.drop(columns=["summary", "dialogue"]).assign(
            summary1=references["summary"], summary2="네.", summary3="우산."
        ),
        "three.csv",
    )
    table = score_files(write(predictions), three, multi="max")
    assert "|refs:3|multi:max|" in table.signature and table.rows["lead2"] is None
    assert "|refs:1-2|" in rouge(["네", "네"], ["네", ("네", "응")]).signature


def test_the_contract_of_json(files):
    _, predictions, write, path = files
    found = json.loads(to_json(score_files(write(predictions), path).to_dict()))
    assert set(found) == {
        "signature",
        "n",
        "rouge1",
        "rouge2",
        "rougeL",
        "mean",
        "null",
        "lead2",
        "differences",
        "warnings",
        "diagnostics",
    } and set(found["differences"]) == {"null", "lead2"}
    assert (
        found["n"] == 20
        and isinstance(found["signature"], str)
        and all(isinstance(w, str) for w in found["warnings"])
    )
    for row in (found, found["null"], found["lead2"]):
        for kind in (*ROUGE_TYPES, "mean"):
            assert (
                set(row[kind]) == {"f", "low", "high"}
                and 0 <= row[kind]["low"] <= row[kind]["f"] <= row[kind]["high"] <= 100
            )
    one = rouge(["네"], ["네"]).to_dict()
    assert (
        one["null"] is None
        and one["lead2"] is None
        and one["differences"] == dict(null=None, lead2=None)
        and len(one["warnings"]) == 1
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=4))
def test_any_text_is_scored(pairs):
    predictions, references = zip(*pairs)
    for tags in ("split", "whole"):
        table = rouge(predictions, references, tags=tags, dialogues=references)
        assert (
            np.isfinite(table.per_dialogue).all()
            and (table.per_dialogue <= 100).all()
            and to_json(table.to_dict())
        )


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["#Person1#", "#Person2#", "#Email#", " ", "은", "가", ".", ",", '"', "우산을", "12", "TV"]
        ),
        max_size=12,
    ).map("".join)
)
def test_good_tags_are_never_called_broken(text):
    assert broken_tags(text, "") == [] and foreign(text) == ""
    assert invented_tags(text, text) == [] and set(invented_tags(text, "")) <= {
        "#Person1#",
        "#Person2#",
        "#Email#",
    }


def test_what_cannot_be_decoded_is_warned_of_and_hides_nothing():
    table = rouge(["우산\0을 찾는다", "안경\ufffd을"], ["우산", "안경을 찾는다"])
    assert (
        table.diagnostics["undecodable"] == 1 and table.per_dialogue[0, 0] < 100
    )  # MeCab alone would stop at \0 and find equal texts
    assert make_tokenizer().tokenize("\ud800가")[-1] == "가"


def test_lead_2_takes_both_editions():
    assert (
        lead2("#Person1#: 네\r\n#Person2#: 응\r\n#Person1#: 왜")
        == lead2("#Person1#: 네\n#Person2#: 응\n#Person1#: 왜")
        == "#Person1#: 네\n#Person2#: 응"
    )
    assert lead2("#Person1#: 네") == "#Person1#: 네"
