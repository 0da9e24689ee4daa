"Ensembles: the same choices as rouge_score's, votes that cannot be bought, p-values and intervals that hold, soups that are means"

import numpy as np
import pytest
from support.ensemble import SAMPLE, null_pairs, oof, systems

from dialsum.data.dialogues import read
from dialsum.ensemble.assessment import assess
from dialsum.ensemble.mbr import (
    drop_weak,
    standing,
    take_consensus,
    votes,
    weighted_avg,
)
from dialsum.ensemble.stacking import Stacker
from dialsum.scores.significance import mean_interval


@pytest.mark.parametrize("shares", [(0.1, 0.2, 0.3), (0.2, 0.2, 0.2), (0.05, 0.4, 0.6), (0.15, 0.2, 0.8)])
def test_strategies_do_not_lose_to_the_best_single(shares):
    learned, others, differences = SAMPLE.head(56), SAMPLE[56:].reset_index(drop=True), []
    for seed in range(4):
        c, folds = oof(learned, shares, seed)
        s, stacker = standing(c, learned["summaries"]), Stacker.fit(c, learned["summaries"], folds)
        new = systems(others, shares, seed + 50)
        left, _ = drop_weak(new, s)
        chosen = dict(
            mbr=take_consensus(left, {m: votes(s)[m] for m in left.members}),
            weighted_avg=weighted_avg(new, s),
            stacking=stacker.choose(new),
        )
        facts = assess(new, others["summaries"], chosen, s.best)["metrics"]
        for measure in facts.values():  # nobody is surely worse
            for row in measure["systems"][1:]:
                assert row["difference_high"] >= 0 and row["mean"] <= measure["oracle"] + 1e-9, (seed, row)
        differences.append([row["difference"] for row in facts["rouge"]["systems"][1:]])
        assert stacker.checked.mean() > max(s.means.values()) - 1
    assert (np.mean(differences, 0) > -0.5).all(), differences
    if max(shares) - min(shares) < 0.3:
        assert (np.mean(differences, 0) > 1).all(), differences  # members of like quality: the consensus wins


def test_real_references(shared):
    rows = read(shared / "data" / "kodialogsum" / "dev.csv", summaries=True)
    learned, others = rows.head(120), rows[120:].reset_index(drop=True)
    c, folds = oof(learned, (0.2, 0.25, 0.35), 1)
    s, new = standing(c, learned["summaries"]), systems(others, (0.2, 0.25, 0.35), 2)
    facts = assess(
        new,
        others["summaries"],
        dict(
            mbr=take_consensus(new),
            weighted_avg=weighted_avg(new, s),
            stacking=Stacker.fit(c, learned["summaries"], folds).choose(new),
        ),
        s.best,
    )
    for measure in facts["metrics"].values():
        assert all(row["difference_low"] > 0 and row["p_holm"] < 0.01 for row in measure["systems"][1:])


@pytest.mark.slow
def test_intervals_cover():
    rng, n, repeats = np.random.default_rng(12), 120, 500
    truth = 45 + 0.0  # of the difference: 0
    hits = []
    for seed in range(repeats):
        a, b = null_pairs(rng, n)
        difference = mean_interval(b - a, seed)
        one = mean_interval(45 + rng.gamma(2, 6, n) - 12, seed)
        hits.append([difference.low <= 0 <= difference.high, one.low <= truth <= one.high])
    assert all(0.93 <= share <= 0.97 for share in np.mean(hits, 0)), np.mean(hits, 0)
