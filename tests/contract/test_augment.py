"New dialogues keep what their summaries say, and come out the same everywhere"

import hashlib
import os
import random
import subprocess
import sys

import pytest
from support.augment import LOCAL, check, repeated, train  # noqa: F401

from dialsum.augment.local_model import seeded_sampling
from dialsum.augment.rewriting import BAND, syllable_rouge
from dialsum.augment.rows import augment
from dialsum.data.dialogues import read, to_csv


@pytest.mark.parametrize("name", LOCAL)
def test_every_row_of_the_sample_keeps_its_truth(name, train):
    made = augment(train, [name], 1.0)
    check(train, made)
    counts = made.attrs["augmentation"]
    assert counts["made"] == len(made) == counts["methods"][name]["made"] and counts["asked"] == 64 == sum(
        counts["methods"][name].values()
    )
    assert counts["methods"][name]["dropped"] == 0 and len(made) >= dict(turn_shuffle=1, synonym=45).get(
        name, 63
    )


DIGEST = """
import hashlib, sys
from dialsum.augment.rows import augment
from dialsum.data.dialogues import read
from dialsum.runs.places import sample_path
made = augment(read(sample_path()/'train.csv', summaries=True), sys.argv[1:], 2.0, seed=7)
print(hashlib.sha256(made.to_json(orient='records', force_ascii=False).encode()).hexdigest())
"""


@pytest.mark.slow
def test_same_seed_same_bytes_in_other_processes_and_any_order(train):
    def digest(hashseed, names):
        done = subprocess.run(
            [sys.executable, "-c", DIGEST, *names],
            env=os.environ | dict(PYTHONHASHSEED=hashseed),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    here = hashlib.sha256(
        augment(train, LOCAL, 2.0, seed=7).to_json(orient="records", force_ascii=False).encode()
    ).hexdigest()
    assert digest("1", LOCAL) == digest("2", LOCAL[::-1] + LOCAL[:1]) == here
    assert to_csv(augment(train, LOCAL, 2.0, seed=8)) != to_csv(augment(train, LOCAL, 2.0, seed=7))


@pytest.mark.slow
def test_a_thousand_rows_are_made_of_as_many_as_there_are(train):
    rows = repeated(train, 10)
    made = augment(rows, LOCAL, 1000 / len(rows))
    assert len(made) == 1000
    made = augment(repeated(train, 21), ["synonym"], 1000 / (21 * 64))
    assert len(made) == 1000


def test_real_rows(shared):
    rows = read(shared / "data" / "kodialogsum" / "train.csv", summaries=True).head(600)
    made = augment(rows, LOCAL, 2.0)
    check(rows, made)
    assert (
        len(made) == 1200 and sum(c["dropped"] for c in made.attrs["augmentation"]["methods"].values()) <= 3
    )


def test_what_comes_out_of_the_noise_is_a_sample():
    import torch

    logits, n = torch.tensor([2.0, 1.0, 0.5, -3.0]), 4000
    drawn = [int((seeded_sampling([i], 0.7)(None, logits[None].clone())).argmax()) for i in range(n)]
    p = torch.softmax(logits / 0.7, 0)
    kept = p[:2] / p[:2].sum() if p[:2].sum() >= 0.9 else p[:3] / p[:3].sum()
    assert max(drawn) < len(kept) and all(
        abs(drawn.count(i) / n - float(q)) < 0.03 for i, q in enumerate(kept)
    )


def test_real_rewritings_lie_within_the_band(shared):
    "The translators of the real data were given some English dialogues twice"
    from dialsum.data.duplicates import twins

    texts = [
        t
        for part in ("train", "dev", "test")
        for t in read(shared / "data" / "kodialogsum" / f"{part}.csv")["dialogue"]
    ]

    def likeness(a, b):
        return sum(syllable_rouge(texts[a], texts[b])) / 3

    again = [likeness(a, b) for a, b, same in twins(texts) if same < 99]
    draw = random.Random(0)
    others = [likeness(*draw.sample(range(len(texts)), 2)) for _ in range(1000)]
    assert (
        len(again) > 80 and BAND[0] + 10 < min(again) and max(again) < BAND[1] and max(others) < BAND[0] + 5
    )
