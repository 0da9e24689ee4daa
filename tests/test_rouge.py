"""What the notebook of dialsum.scores.rouge cannot say of itself: equality over many random texts, the real data, files in any order"""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from dialsum.korean.tags import broken_tags, foreign, invented_tags
from dialsum.runs.errors import DialsumError
from dialsum.runs.files import to_json
from dialsum.scores.baselines import lead2
from dialsum.scores.files import score_files
from dialsum.scores.rouge import rouge
from dialsum.scores.scorer import ROUGE_TYPES
from dialsum.scores.tokenizers import TOKENIZERS, tokenizer

DEV = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "kodialogsum" / "dev.csv"
needs_data = pytest.mark.skipif(
    not DEV.is_file(),
    reason="needs the Korean DialogSum in ../shared/data, which is not part of the repository",
)
WORDS = [
    "#Person1#은",
    "#Person2#에게",
    "#Person3#가",
    "#PhoneNumber#로",
    "회의를",
    "네",
    "시로",
    "옮기자고",
    "한다.",
    "우산을",
    "버스에",
    "두고",
    "내려서",
    "분실물",
    "센터에",
    "전화했다.",
    "김치찌개가",
    "짜다",
    "email",
    "3시",
    "30분",
    "café",
    "ㅋㅋ",
    "漢字",
    "#Ferson1#",
    "#",
    "\n",
    "그리고",
    "그는",
    "그는",
    "그는",
]


def texts(n, seed):
    "Random Korean-like texts, every tenth of them empty or blank"
    rng = random.Random(seed)
    return [
        rng.choice(["", " ", "\n"])
        if rng.random() < 0.1
        else " ".join(rng.choices(WORDS, k=rng.randint(1, 16)))
        for _ in range(n)
    ]


def plain(cut, predictions, references):
    "rouge_score itself, with a tokenizer that remembers nothing"

    class Fresh:
        def tokenize(self, text):
            return cut(text)

    scorer = RougeScorer(ROUGE_TYPES, tokenizer=Fresh())
    return 100 * np.array(
        [[scorer.score(r, p)[k].fmeasure for k in ROUGE_TYPES] for p, r in zip(predictions, references)]
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


@pytest.mark.parametrize("name", ["mecab", "char", "word"])
def test_equal_to_rouge_score_on_random_pairs(name):
    predictions, references = texts(1000, 1), texts(1000, 2)
    assert sum(not p.strip() for p in predictions) > 50
    expected = plain(TOKENIZERS[name](), predictions, references)
    found = rouge(predictions, references, tokenizer=name).per_dialogue
    assert (
        found.shape == (1000, 4)
        and np.abs(found[:, :3] - expected).max() < 1e-9
        and np.abs(found[:, 3] - expected.mean(1)).max() < 1e-9
    )
    assert expected.max() > 20  # the pairs do share something


def test_whole_tags_equal_to_rouge_score():
    from mecab import MeCab

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


@pytest.mark.parametrize("tags", ["split", "whole"])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_identical_texts_are_100_without_a_warning(name, tags):
    same = [
        f"#Person1#은 {word} 회의를 네 시로 옮기고 #Person2#는 우산을 찾는다."
        for word in ("오늘", "내일", "다시", "겨우", "아주")
    ]
    table = rouge(same, same, tokenizer=name, tags=tags)
    assert all(tuple(s) == (100, 100, 100) for s in table.rows["score"].values())
    assert table.warnings == [] and table.rows["null"]["mean"].f < 100 and table.rows["lead2"] is None


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


def test_the_same_call_gives_the_same_bytes_in_another_process():
    code = (
        "from dialsum.scores.rouge import rouge; from dialsum.runs.files import to_json\n"
        "print(to_json(rouge(['회의를 옮긴다', '우산을 두고 왔다', '안경'], ['회의가 네 시다', '우산을 찾는다', '안경을 찾는다']).to_dict()))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)
    ]
    assert runs[0] == runs[1] and runs[0]
    other = rouge(
        ["회의를 옮긴다", "우산을 두고 왔다", "안경"],
        ["회의가 네 시다", "우산을 찾는다", "안경을 찾는다"],
        seed=1,
    ).to_dict()
    assert (
        other["rouge1"]["f"] == pytest.approx(json.loads(runs[0])["rouge1"]["f"], abs=1e-5)
        and "seed=1" in other["signature"]
    )


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
    assert tokenizer().tokenize("\ud800가")[-1] == "가"


def test_lead_2_takes_both_editions():
    assert (
        lead2("#Person1#: 네\r\n#Person2#: 응\r\n#Person1#: 왜")
        == lead2("#Person1#: 네\n#Person2#: 응\n#Person1#: 왜")
        == "#Person1#: 네\n#Person2#: 응"
    )
    assert lead2("#Person1#: 네") == "#Person1#: 네"


def test_kiwi_is_loaded_only_when_asked():
    code = (
        "import sys; from dialsum.scores.rouge import rouge; from dialsum.scores.tokenizers import tokenizer; rouge(['네'], ['네']); assert 'kiwipiepy=' in tokenizer('kiwi').signature\n"
        "assert 'mecab' in sys.modules and 'kiwipiepy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
