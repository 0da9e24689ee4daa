"Defects that are planted are found, what is clean stays clean, and mending loses nothing"

import random
import re
from collections import Counter

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from support.quality import DAMAGE, change_word, plant, score

from dialsum.data.characters import mend_mojibake, mojibake
from dialsum.data.dialogues import read
from dialsum.data.duplicates import twins
from dialsum.data.mending import mend
from dialsum.data.quality import check, dialogues_with_gaps, repaired, row_findings
from dialsum.runs.files import to_json
from dialsum.runs.places import sample_path


def test_planted_defects_are_found_in_the_sample():
    train, dev = (read(sample_path() / f"{p}.csv", summaries=True) for p in ("train", "dev"))
    results = [score(*plant(train, dev, 64 - len(DAMAGE), 1, seed)) for seed in range(4)]
    assert sum(found for found, *_ in results) / 4 >= 0.95, [missed for _, missed, _ in results]
    assert sum(wrong for *_, wrong in results) / 4 <= 0.02, results
    assert max(Counter(name for _, missed, _ in results for name, _ in missed).values(), default=0) <= 2, (
        "a sort of defect is hardly found at all"
    )


def test_mending_restores_what_was_damaged_and_leaves_references():
    train = read(sample_path() / "train.csv", summaries=True)
    train = train[train["dialogue"].map(lambda d: mend(d) == d)].reset_index(drop=True)
    assert len(train) > 50
    for name in ("UTF-8 as cp1252", "UTF-8 as cp1253", "broken tag", "joined turns"):
        bad = pd.DataFrame(
            [DAMAGE[name][1](random.Random(i), row) for i, row in enumerate(train.to_dict("records"))]
        )
        again = repaired(bad)
        assert (again["dialogue"] == train["dialogue"]).mean() == 1, name
    bad = train.assign(
        summaries=[tuple(s.encode().decode("latin-1") for s in row) for row in train["summaries"]]
    )
    assert repaired(bad)["summaries"].equals(bad["summaries"])


hangul = st.text(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3), min_size=1, max_size=12)


texts = (
    st.lists(
        st.one_of(hangul, st.sampled_from([" ", "\n", ". ", "? ", "Tom", "3", "#Person1#: "])),
        min_size=1,
        max_size=12,
    )
    .map("".join)
    .filter(lambda t: re.search("[가-힣]", t))
)


@settings(max_examples=200, deadline=None)
@given(texts, st.sampled_from(["latin-1", "sloppy-windows-1252", "sloppy-windows-1253"]))
def test_mojibake_of_any_hangul_is_mended_without_loss(text, codec):
    damaged = text.encode().decode(codec)
    assert mojibake(damaged) and mend_mojibake(damaged) == text


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_text_can_be_checked_and_mending_twice_is_mending_once(text):
    frame = pd.DataFrame([dict(fname="a", dialogue=text, topic="", summaries=(text[::-1],))])
    [row] = dialogues_with_gaps(frame)
    row_findings("train", row)
    assert mend(mend(text)) == mend(text)


def test_twins_find_a_changed_word_in_dialogues_of_every_length():
    rows = list(read(sample_path() / "train.csv")["dialogue"])
    for i, text in enumerate(rows):
        short = "\n".join(text.split("\n")[:2])
        for whole in (text, short) if len(re.sub(r"\W", "", short)) > 50 else (text,):
            assert [
                p
                for p in twins([*rows[:i], *rows[i + 1 :], whole, change_word(random.Random(i), whole)])
                if p[:2] == (63, 64) and p[2] >= 85
            ], whole


def test_what_is_dropped_is_told_and_dev_and_test_stay():
    train, dev, test = (
        read(sample_path() / f"{p}.csv", summaries=p != "test") for p in ("train", "dev", "test")
    )
    parts, _planted, _ = plant(train, dev, 20, 1, seed=3)
    parts["dev"] = pd.concat([dev, dev.head(1).assign(fname="again")], ignore_index=True)
    parts["test"] = test
    quality = check(parts)
    kept, dropped = quality.drop(parts, threshold=0.8)
    assert (
        len(kept["train"]) + len(dropped) == len(parts["train"])
        and set(dropped["part"]) == {"train"}
        and len(dropped) > 10
    )
    assert kept["dev"].equals(parts["dev"]) and kept["test"].equals(parts["test"])
    assert (
        set(dropped["fname"]).isdisjoint(kept["train"]["fname"])
        and dropped["reasons"].str.contains("요약|대화").all()
    )
    assert quality.drop(parts, among=("train", "dev"))[0]["dev"].equals(dev)
    assert quality.drop(parts, threshold=0)[1].empty
    facts = quality.to_dict()
    assert (
        to_json(facts)
        and facts["parts"]["dev"]["errors"] == 1
        and facts["kinds"]["duplicate"] == dict(train=1, dev=1, test=0)
    )
    assert "중복" in quality.text() and "user" not in to_json(facts).replace(
        "use*", ""
    )  # what is private is masked


def test_the_warnings_that_are_not_planted_above():
    train, dev = (read(sample_path() / f"{p}.csv", summaries=True) for p in ("train", "dev"))

    def reworded(d):
        return re.sub("(?<=요)[.]", ", 알겠죠?", d.replace("네,", "그래요,").replace("그", "저"))

    rows = train.to_dict("records")
    rows[0] |= dict(summaries=("#Weather#이 맑다고 한다.",))
    rows[1] |= dict(dialogue=rows[1]["dialogue"] + " 谢谢你")
    rows[2] |= dict(dialogue="\n".join([rows[2]["dialogue"]] * 12))
    rows[3] |= dict(dialogue=reworded(rows[5]["dialogue"]))
    rows[4] |= dict(
        dialogue="\n".join(dev["dialogue"][0].split("\n")[:-2] + rows[4]["dialogue"].split("\n")[:2])
    )
    rows[6] |= dict(summaries=("펭귄 얼룩말 코뿔소.",))
    quality = check(dict(train=pd.DataFrame(rows), dev=dev))
    got = {f.fname: {g.kind for g in quality.findings if g.fname == f.fname} for f in quality.findings}
    for i, kind in (
        (0, "unknown_tag"),
        (1, "script"),
        (2, "length"),
        (5, "near_duplicate"),
        (4, "near_leak"),
        (6, "unrelated"),
    ):
        assert kind in got.get(rows[i]["fname"], ()), (kind, got.get(rows[i]["fname"]))


def test_nothing_found_is_said_so():
    quality = check(dict(train=pd.DataFrame(columns=["fname", "dialogue", "topic", "summaries"])))
    assert (
        quality.counts.empty
        and quality.bad().empty
        and quality.to_dict()["kinds"] == {}
        and "찾지 못했습니다" in quality.text()
    )
