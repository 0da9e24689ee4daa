"How many dialogues a difference takes, and which difference a dev set can show"

import math

import numpy as np
import pytest
from support.experiments import fact_of

from dialsum.checks.outlook import difference_shown
from dialsum.scores.significance import (
    TYPICAL_SPREAD,
    detectable_difference,
    dialogues_needed,
    randomization_test,
    spread_of,
)


def found_share(gap, spread, dialogues, level=0.05, times=4000):
    "How often an interval of the paired differences leaves out zero on the right side"
    from statistics import NormalDist

    samples = np.random.default_rng(0).normal(gap, spread, (times, dialogues))
    bound = NormalDist().inv_cdf(1 - level / 2) * samples.std(1, ddof=1) / math.sqrt(dialogues)
    return (samples.mean(1) > bound).mean()


@pytest.mark.parametrize(("gap", "spread"), [(2.0, 20.0), (1.43, 11.4), (4.0, 11.4)])
@pytest.mark.parametrize("comparisons", [1, 4])
def test_the_advised_number_finds_the_difference_in_four_of_five(gap, spread, comparisons):
    needed = dialogues_needed(gap, spread, comparisons=comparisons)
    assert abs(found_share(gap, spread, needed, 0.05 / comparisons) - 0.8) < 0.04
    assert dialogues_needed(gap, spread, comparisons=4) > dialogues_needed(gap, spread)


def test_eighty_percent_take_twice_as_many_as_the_half_width():
    gap, n = 2.0, 1000
    spread = spread_of(gap, n)  # the interval just touches zero: found in half of the cases
    assert abs(found_share(gap, spread, n) - 0.5) < 0.04
    assert abs(dialogues_needed(gap, spread) / n - 2.04) < 0.01


def test_what_a_dev_set_shows_is_the_same_formula_turned_round():
    for n in (16, 100, 499):
        for comparisons in (1, 5):
            least = detectable_difference(n, comparisons=comparisons)
            assert dialogues_needed(least, comparisons=comparisons) in (n, n + 1)
    assert 1.3 < detectable_difference(499) < 1.5 < 1.9 < detectable_difference(250) < 2.1


@pytest.mark.parametrize(("n", "comparisons"), [(16, 1), (16, 5), (60, 3)])
def test_the_detectable_difference_is_found_in_four_of_five_cases(n, comparisons):
    "By the test that reports use, whose spread is estimated from the same few dialogues"
    gap = detectable_difference(n, 11.4, comparisons=comparisons)
    samples = np.random.default_rng(3).normal(gap, 11.4, (n, 800))
    found = randomization_test(samples, 42) <= 0.05 / comparisons
    assert abs(found.mean() - 0.8) < 0.04, found.mean()


def test_where_nothing_can_be_shown_that_is_said():
    assert math.isinf(detectable_difference(1)) and math.isinf(detectable_difference(4, comparisons=15))
    words = difference_shown(dict(dev=[None] * 4), 6)
    assert "4 dev dialogues are too few" in words and "inf" not in words
    assert "from about" in difference_shown(dict(dev=[None] * 16), 6)


def test_a_comparison_says_what_it_could_have_shown():
    from dialsum.scores.metrics import ComparedSystem
    from dialsum.scores.significance import compare, comparison_rows

    rng = np.random.default_rng(4)
    hard = rng.normal(40, 15, 60)
    scores = {name: hard + rng.normal(0, 8, 60) for name in ("best", "other", "third")}
    rows = comparison_rows(compare(scores, "best"))
    for row in rows[1:]:
        spread = float(np.std(scores[row["system"]] - scores["best"], ddof=1))
        assert row["detectable"] == detectable_difference(60, spread, comparisons=2)
        assert ComparedSystem.of(**row).detectable == pytest.approx(row["detectable"])
    assert "detectable" not in rows[0]
    one = comparison_rows(compare({name: values[:1] for name, values in scores.items()}, "best"))
    assert all("detectable" not in row for row in one)  # of one dialogue nobody knows a spread


def test_the_typical_spread_gives_the_measured_intervals():
    assert spread_of(1.0, 499) == pytest.approx(TYPICAL_SPREAD, abs=0.1)
    assert spread_of(1.4, 250) == pytest.approx(TYPICAL_SPREAD, abs=0.15)


# what a report says

HARD = [20.0 + 7 * (i % 8) for i in range(40)]  # dialogues differ far more than models


def advised(build, *values):
    from support.experiments import paired
    from support.report import overview_parts

    run, leave = build()
    for name, each in zip(("kobart", "kullm-v2", "qwen3-4b", "solar-10.7b"), values):
        paired(leave, name, each)
    text = overview_parts(run)[2]
    return int(text.split("개에서 ")[1].split("개쯤")[0].replace(",", ""))


def test_the_report_advises_the_number_for_eighty_percent_power(build):

    shifted = [x + (3.0 if i % 2 else -3.5) for i, x in enumerate(HARD)]
    needed = advised(build, HARD, shifted)
    gap, spread = 0.25, float(np.std([b - a for a, b in zip(HARD, shifted)]))
    assert abs(needed / dialogues_needed(gap, spread) - 1) < 0.15  # the interval is a bootstrap's
    assert abs(found_share(gap, spread, needed) - 0.8) < 0.06


def test_more_pairs_take_more_dialogues(build):
    shifted = [x + (3.0 if i % 2 else -3.5) for i, x in enumerate(HARD)]
    two = advised(lambda: build("two"), HARD, shifted)
    four = advised(lambda: build("four"), HARD, shifted, [x - 9 for x in shifted], [x - 19 for x in shifted])
    assert 1.2 < four / two < 2


# what is not said of two systems that are both no better than chance


def spoken(build, null, better=40.0, worse=30.0):
    "Report sections on two systems that differ by much, whose null rows are as given"
    from support.experiments import metrics, paired, scored

    from dialsum.report.document import SECTIONS
    from dialsum.report.experiment import read_experiment
    from dialsum.report.sections.first_screen import section_first_screen

    run, leave = build()
    for name, mean in (("kobart", better), ("qwen3-4b", worse)):
        paired(leave, name, [mean + i % 3 for i in range(40)], **scored(mean, null=null))
    leave("submit", found=metrics("submit", better))
    e = read_experiment(run)
    sections = "scores", "next_steps", "submission"
    return "\n".join([section_first_screen(e), *(SECTIONS[name](e) for name in sections)])


SURE = ("통계적으로 유의함", "통계적으로 유의합니다", "점수가 가장 높은 KoBART와", "p < 0.001", "| < 0.001")


def test_no_significance_between_two_that_are_no_better_than_chance(build):
    assert any(words in spoken(lambda: build("good"), null=10.0) for words in SURE)
    text = spoken(lambda: build("bad"), null=60.0)
    assert not [words for words in SURE if words in text] and "무작위 기준" in text


def test_one_of_two_that_beats_chance_is_compared(build):
    assert "통계적으로 유의함" in spoken(build, null=35.0)  # 40 clears it, 30 does not


def test_compare_leaves_p_out_between_two_of_chance():
    from dialsum.scores.significance import compare, comparison_rows

    scores = {name: np.arange(20.0) + gap for name, gap in (("best", 0), ("near", 1), ("far", 9))}
    rows = {row["system"]: row for row in comparison_rows(compare(scores, "best", chance={"best", "near"}))}
    assert "p" not in rows["near"] and "difference_low" in rows["near"] and rows["far"]["p"] < 0.01
    assert rows["far"]["p_holm"] == rows["far"]["p"]  # the pair that is not tested counts for nothing
    assert not any("p" in row for row in comparison_rows(compare(scores, "best", chance=set(scores))))


def test_an_ensemble_of_noise_says_nothing_of_itself(build):
    from dialsum.report.document import SECTIONS
    from dialsum.report.experiment import read_experiment

    rows = [dict(system="best", mean=10.0, low=9.0, high=11.0)]
    rows += [
        dict(
            system="mbr",
            mean=12.0,
            low=11.0,
            high=13.0,
            difference=2.0,
            difference_low=1.0,
            difference_high=3.0,
        )
    ]
    measure = dict(systems=rows, members=dict(kobart=10.0), mean_single=10.0, oracle=15.0, was_utility=True)
    facts = dict(
        n=16,
        members=["kobart"],
        best="kobart",
        utility="rouge",
        chance=["best", "mbr"],
        dropped={},
        strategy="mbr",
        metrics=dict(rouge=measure, chrf=measure),
    )
    run, leave = build()
    leave("ensemble", found=facts)
    text = SECTIONS["ensemble"](read_experiment(run))
    assert "유의" not in text and "무작위 기준" in text


def test_the_choices_of_an_ensemble_know_their_null_rows():
    import pandas as pd

    from dialsum.ensemble.assessment import assess
    from dialsum.ensemble.candidates import Candidate, Candidates

    references = [
        f"{word} 이야기를 나눈다."
        for word in ("우산", "회의", "안경", "김치", "발표", "여행", "수업", "운동")
    ]

    def facts(texts):
        table = tuple((Candidate("a", text), Candidate("b", "모른다.")) for text in texts)
        fnames = tuple(f"d{i}" for i in range(len(texts)))
        c = Candidates(fnames, tuple("#Person1#: 응." for _ in texts), table)
        return assess(c, references, dict(mbr=pd.DataFrame(dict(fname=fnames, summary=texts))), "a")

    assert facts(references)["chance"] == []
    noise = facts(["이야기를 나눈다."] * 8)
    assert noise["chance"] == ["best", "mbr"] and not any(
        "p" in row for row in noise["metrics"]["rouge"]["systems"]
    )


def test_two_experiments_of_noise_are_not_ranked(monkeypatch):
    from types import SimpleNamespace

    import pandas as pd

    from dialsum.report.comparison import pairs

    monkeypatch.setattr(pairs, "_why_incomparable", lambda a, b: None)

    def system(mean, null):
        split = dict(mean=dict(f=mean), null=dict(mean=dict(f=null, high=null + 1)))
        fact = fact_of("evaluate", metrics=dict(split=split))
        rows = pd.DataFrame(dict(fname=[f"d{i}" for i in range(20)]))
        return SimpleNamespace(name="kobart", fact=fact, rows=rows, scores=np.full((20, 4), mean))

    assert pairs.paired(system(20.0, 10.0), system(30.0, 10.0)).p < 0.01
    noise = pairs.paired(system(20.0, 40.0), system(30.0, 40.0))
    assert noise.p is None and not noise.significant and noise.difference.f == 10
    assert pairs.paired(system(20.0, 25.0), system(30.0, 25.0)).p < 0.01
