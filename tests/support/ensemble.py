"What the tests of ensemble share"

import random

import numpy as np
import pandas as pd

from dialsum.data.dialogues import read
from dialsum.data.folds import deal
from dialsum.ensemble.candidates import Candidate, Candidates
from dialsum.runs.places import sample_path

SAMPLE = pd.concat(
    [read(sample_path() / f"{part}.csv", summaries=True) for part in ("train", "dev", "test_references")],
    ignore_index=True,
)


def spoiled(text, share, rng, words):
    "About `share` of the words replaced by any other or lost"
    share = rng.gauss(share, 0.12)
    return " ".join(
        rng.choice(words) if u < 0.6 * share else w
        for w in text.split()
        if (u := rng.random()) < 0.6 * share or u > share
    )


def systems(rows, shares, seed, shared=0.2, folds=None):
    "A table of systems that share a reading of each reference and spoil it by themselves; the smaller its share, the better the system"
    words, reading = [w for s in rows["summaries"] for w in s[0].split()], random.Random(seed)
    base = [spoiled(reading.choice(s), shared, reading, words) for s in rows["summaries"]]
    own = [random.Random(1000 * seed + i) for i in range(len(shares))]
    table = tuple(
        tuple(
            Candidate(f"m{i}", spoiled(text, share, rng, words), fold=folds and folds[f])
            for i, (share, rng) in enumerate(zip(shares, own))
        )
        for f, text in zip(rows["fname"], base)
    )
    return Candidates(tuple(rows["fname"]), tuple(rows["dialogue"]), table)


# ---- stacking


def oof(rows, shares, seed, k=4):
    folds = dict(zip(rows["fname"], deal(rows, k)))
    return systems(rows, shares, seed, folds=folds), folds


# ---- was it worth it?


def null_pairs(rng, n=80):
    "Two equally good systems on the same dialogues: hard ones for both, skewed scores"
    hard = rng.normal(0, 12, n)
    return [np.clip(45 + hard + rng.gamma(2, 6, n) - 12, 0, 100) for _ in range(2)]
