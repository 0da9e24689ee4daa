"How many dialogues a difference takes, and which difference a dev set can show"
import math

import numpy as np
import pytest

from dialsum import rouge


def found_share(gap, spread, dialogues, level=.05, times=4000):
    "How often an interval of the paired differences leaves out zero on the right side"
    from statistics import NormalDist
    samples = np.random.default_rng(0).normal(gap, spread, (times, dialogues))
    bound = NormalDist().inv_cdf(1 - level/2)*samples.std(1, ddof=1)/math.sqrt(dialogues)
    return (samples.mean(1) > bound).mean()


@pytest.mark.parametrize('gap,spread', [(2., 20.), (1.43, 11.4), (4., 11.4)])
@pytest.mark.parametrize('comparisons', [1, 4])
def test_the_advised_number_finds_the_difference_in_four_of_five(gap, spread, comparisons):
    needed = rouge.dialogues_needed(gap, spread, comparisons=comparisons)
    assert abs(found_share(gap, spread, needed, .05/comparisons) - .8) < .04
    assert rouge.dialogues_needed(gap, spread, comparisons=4) > rouge.dialogues_needed(gap, spread)


def test_eighty_percent_take_twice_as_many_as_the_half_width():
    gap, n = 2., 1000
    spread = rouge.spread_of(gap, n)  # the interval just touches zero: found in half of the cases
    assert abs(found_share(gap, spread, n) - .5) < .04
    assert abs(rouge.dialogues_needed(gap, spread)/n - 2.04) < .01


def test_what_a_dev_set_shows_is_the_same_formula_turned_round():
    for n in (16, 100, 499):
        for comparisons in (1, 5):
            least = rouge.detectable_difference(n, comparisons=comparisons)
            assert rouge.dialogues_needed(least, comparisons=comparisons) in (n, n + 1)
    assert 1.3 < rouge.detectable_difference(499) < 1.5 < 1.9 < rouge.detectable_difference(250) < 2.1


def test_the_typical_spread_gives_the_measured_intervals():
    assert rouge.spread_of(1.0, 499) == pytest.approx(rouge.TYPICAL_SPREAD, abs=.1)
    assert rouge.spread_of(1.4, 250) == pytest.approx(rouge.TYPICAL_SPREAD, abs=.15)
