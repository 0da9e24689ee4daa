"What the tests of rouge share"

import random

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

from dialsum.scores.scorer import ROUGE_TYPES

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
