"Faults that were put into good summaries are found, and good summaries have none"

import re

import pandas as pd
import pytest

from dialsum.data.dialogues import read
from dialsum.korean.tags import TAG
from dialsum.runs.places import sample_path
from dialsum.scores.summary_errors import FAULTS, counted, faults

ROWS = pd.concat(
    [read(sample_path() / f"{part}.csv", summaries=True) for part in ("train", "dev")], ignore_index=True
)
GOOD = list(ROWS["summaries"].str[0])


def exchanged(text):
    return TAG.sub(lambda m: {"#Person1#": "#Person2#", "#Person2#": "#Person1#"}.get(m[0], m[0]), text)


def larger(text):
    return re.sub(r"(?<![#\w])\d+(?!\w*#)", lambda m: str(7 * int(m[0]) + 913), text)


PLANTED = dict(
    empty=lambda t: " ",
    literal_nothing=lambda t: "nan",
    no_hangul=lambda t: "They talk.",
    foreign=lambda t: t.replace("은", "은 豫約", 1),
    control_token=lambda t: t + "</s><pad>",
    lost_tags=lambda t: TAG.sub("", t),
    broken_tag=lambda t: t.replace("#Person1#", "#Ferson1#", 1),
    wrong_speaker=exchanged,
    invented_number=larger,
    invented_name=lambda t: t + " 로버트 킴벌리가 옆에 있었다.",
    repetition=lambda t: t + " " + t,
    cut=lambda t: " ".join(t.split()[:-1]),
    omission=lambda t: TAG.sub("그", t),
)


def judge(texts, references=True):
    return faults(texts, list(ROWS["dialogue"]), list(ROWS["summaries"]) if references else None)


@pytest.mark.parametrize("kind", FAULTS)
def test_a_planted_fault_is_found(kind):
    spoiled = [PLANTED[kind](t) for t in GOOD]
    changed = [i for i, (a, b) in enumerate(zip(GOOD, spoiled)) if a != b]
    if kind == "wrong_speaker":
        changed = [i for i in changed if {"#Person1#", "#Person2#"} <= set(TAG.findall(GOOD[i]))]
    found = judge(spoiled)
    assert len(changed) > 5 and sum(kind in found[i] for i in changed) >= 0.9 * len(changed), (
        kind,
        len(changed),
        [spoiled[i] for i in changed if kind not in found[i]][:5],
    )


def test_good_summaries_have_no_faults():
    found = judge(GOOD)
    assert sum(map(bool, found)) <= 0.02 * len(GOOD), [(f, t) for f, t in zip(found, GOOD) if f]


def test_people_s_summaries_of_real_dialogues_have_next_to_none(shared):
    rows = read(shared / "data" / "kodialogsum" / "dev.csv", summaries=True)
    found = faults(list(rows["summaries"].str[0]), list(rows["dialogue"]))
    assert sum(map(bool, found)) <= 0.02 * len(rows)


def test_counts_are_of_rows_and_names_are_kept():
    told = counted(["", GOOD[1]], list(ROWS["dialogue"][:2]), list(ROWS["summaries"][:2]), ["a", "b"])
    assert (
        told["rows"] == 2
        and told["faulty"] == 1
        and told["kinds"]["empty"] == dict(count=1, references=0, examples=[dict(fname="a", found=["–"])])
        and told["kinds"]["omission"]["references"] is None
    )


def test_a_broken_tag_is_not_lost_as_well():
    dialogue, reference = "#Person1#: 이제 간다.", "#Person1#은 간다고 한다."
    [found] = faults(["Person1은 간다고 한다."], [dialogue], [(reference,)])
    assert "broken_tag" in found and "lost_tags" not in found
    [found] = faults(["그 사람은 간다고 한다."], [dialogue], [(reference,)])
    assert "lost_tags" in found and "broken_tag" not in found
