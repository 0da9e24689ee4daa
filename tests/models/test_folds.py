"Folds that share nothing, and predictions of rows that a model has not seen"

import random
from collections import defaultdict

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialsum.augment.rows import augment
from dialsum.data.dialogues import read
from dialsum.data.folds import deal, groups, split
from dialsum.pipeline.process import run_stage
from dialsum.pipeline.spec import StageSpec
from dialsum.runs.error_facts import error_sentence
from dialsum.runs.errors import DialsumError
from dialsum.runs.folders import new_run
from dialsum.runs.places import sample_path

SAMPLE = read(sample_path() / "train.csv", summaries=True)


def twice(text, rng):
    return text.replace("\n", rng.choice([" \n", "\n ", "\n\n"]))


def one_word_changed(text, rng):
    words = text.split(" ")
    words[rng.randrange(len(words))] = "고구마"
    return " ".join(words)


def other_speakers(text, rng):
    return (
        text.replace("#Person1#", "#PersonX#")
        .replace("#Person2#", "#Person1#")
        .replace("#PersonX#", "#Person2#")
    )


VARIANTS = (twice, one_word_changed, other_speakers)


@st.composite
def copied_and_augmented(draw):
    "Rows of the sample with copies of copies and rows made of others; and which conversation each one is"
    rng = random.Random(draw(st.integers(0, 10**6)))
    base = rng.sample(range(len(SAMPLE)), draw(st.integers(4, 24)))
    rows = [
        dict(fname=f"r{i}", dialogue=SAMPLE["dialogue"][n], origin="", talk=n) for i, n in enumerate(base)
    ]
    for i in range(draw(st.integers(0, 30))):
        old = rng.choice(rows)
        if draw(st.booleans()):
            rows.append(
                dict(old, fname=f"c{i}", dialogue=rng.choice(VARIANTS)(old["dialogue"], rng), origin="")
            )
        else:
            rows.append(
                dict(
                    old,
                    fname=f"a{i}",
                    dialogue="#Person1#: " + "".join(rng.sample(old["dialogue"], len(old["dialogue"]))),
                    origin=old["origin"] or old["fname"],
                )
            )
    rng.shuffle(rows)
    return pd.DataFrame(rows)


@settings(max_examples=60, deadline=None)
@given(rows=copied_and_augmented(), k=st.integers(2, 8), seed=st.integers(0, 1000))
def test_no_conversation_is_in_two_folds(rows, k, seed):
    talks = rows["talk"].nunique()
    if k > talks:
        with pytest.raises(DialsumError, match=f"from 2 to {talks}"):
            deal(rows, k, seed)
        return
    fold = deal(rows, k, seed)
    there = defaultdict(set)
    for talk, f in zip(rows["talk"], fold):
        there[talk].add(f)
    assert (
        all(len(folds) == 1 for folds in there.values())
        and set(fold) == set(range(k))
        and fold == deal(rows, k, seed)
    )
    own = rows["origin"] == ""
    sizes, largest = (
        [sum(own & (pd.Series(fold) == f)) for f in range(k)],
        rows[own].groupby("talk").size().max(),
    )
    assert max(sizes) - min(sizes) <= largest


@settings(max_examples=30, deadline=None)
@given(rows=copied_and_augmented(), fraction=st.floats(0.1, 0.6), seed=st.integers(0, 1000))
def test_no_conversation_is_on_both_sides_of_a_split(rows, fraction, seed):
    a, b = split(rows, fraction, seed)
    assert len(a) + len(b) == len(rows) and not set(a["talk"]) & set(b["talk"])


def test_what_augmentation_makes_stays_with_its_origin():
    made = augment(SAMPLE, ["synonym", "speaker_swap", "instruction"], 2.0)
    rows = pd.concat([SAMPLE, made], ignore_index=True).fillna("")
    fold = dict(zip(rows["fname"], deal(rows, 5)))
    assert all(fold[r.fname] == fold[r.origin] for r in made.itertuples())
    assert groups(rows) == groups(rows[["fname", "dialogue"]])[:64] + [
        list(SAMPLE["fname"]).index(o) for o in made["origin"]
    ]


def test_more_copies_than_a_set_phrase_has_stay_together():
    rows = pd.DataFrame(
        dict(
            fname=[f"r{i}" for i in range(140)],
            dialogue=[one_word_changed(SAMPLE["dialogue"][i % 2], random.Random(i)) for i in range(140)],
        )
    )
    assert groups(rows) == [0, 1] * 70


@pytest.mark.slow
@pytest.mark.parametrize(("fold", "k_folds", "words"), [(0, 0, "folds.csv"), (7, 2, "2, from 0")])
def test_a_fold_that_is_not_there_is_refused(fold, k_folds, words, tmp_path):
    run = new_run("none", {}, tmp_path)
    assert run_stage(StageSpec(run, "data", "", dict(debug=True, k_folds=k_folds))).status == "success"
    fact = run_stage(StageSpec(run, "train", "kobart", dict(scale="replica", fold=fold), fold=fold))
    assert fact.status == "failed" and words in error_sentence(fact.error)


def test_one_fold_is_refused(typed, tmp_path):
    wrong = typed("run", "--scale", "replica", "--k-folds", "1", "--runs", tmp_path / "runs")
    assert wrong.returncode == 2 and "--k-folds is 1" in wrong.stderr and not (tmp_path / "runs").exists()
