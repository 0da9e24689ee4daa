"""What the notebook of dialsum.scores.rouge cannot say of itself: equality over many random texts, the real data, files in any order"""

import json
import subprocess
import sys

import numpy as np
import pytest
from mecab import MeCab
from support.rouge import plain, texts

from dialsum.scores.rouge import rouge
from dialsum.scores.tokenizers import TOKENIZERS

CUTS = dict(
    mecab=MeCab().morphs, char=lambda text: list("".join(text.split())), word=str.split
)  # others' own


@pytest.mark.parametrize("name", ["mecab", "char", "word"])
def test_equal_to_rouge_score_on_random_pairs(name):
    predictions, references = texts(1000, 1), texts(1000, 2)
    assert sum(not p.strip() for p in predictions) > 50
    expected = plain(CUTS[name], predictions, references)
    found = rouge(predictions, references, tokenizer=name).per_dialogue
    assert (
        found.shape == (1000, 4)
        and np.abs(found[:, :3] - expected).max() < 1e-9
        and np.abs(found[:, 3] - expected.mean(1)).max() < 1e-9
    )
    assert expected.max() > 20  # the pairs do share something


@pytest.mark.parametrize(("multi", "over"), [("mean", np.mean), ("max", np.max)])
def test_equal_to_rouge_score_over_several_references(multi, over):
    "As many as a dialogue has, here one to three"
    predictions, *others = (texts(1000, seed) for seed in (1, 2, 3, 4))
    references = [own[: 1 + i % 3] for i, own in enumerate(zip(*others))]
    each = [plain(CUTS["mecab"], predictions, column) for column in others]
    expected = np.array([over([e[i] for e in each[: len(own)]], axis=0) for i, own in enumerate(references)])
    found = rouge(predictions, references, multi=multi).per_dialogue
    assert np.abs(found[:, :3] - expected).max() < 1e-9


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


def test_kiwi_is_loaded_only_when_asked():
    code = (
        "import sys; from dialsum.scores.rouge import rouge; from dialsum.scores.tokenizers import make_tokenizer; rouge(['네'], ['네']); assert 'kiwipiepy=' in make_tokenizer('kiwi').signature\n"
        "assert 'mecab' in sys.modules and 'kiwipiepy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
