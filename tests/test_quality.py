"Defects that are planted are found, what is clean stays clean, and mending loses nothing"

import random
import re
from collections import Counter

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from dialsum.data.characters import mend_mojibake, mojibake
from dialsum.data.dialogues import read
from dialsum.data.duplicates import twins
from dialsum.data.mending import mend
from dialsum.data.quality import DEFECTS, check, dialogues_with_gaps, repaired, row_findings
from dialsum.korean.numerals import amounts
from dialsum.runs.files import to_json
from dialsum.runs.places import sample_path

NAMES = [
    "김민수",
    "박서연",
    "최영호",
    "이지훈",
    "정하늘",
    "Gregory",
    "Veronica",
    "Humphrey",
    "알렉산더",
    "마르티나",
    "오카다",
    "강원도",
]


def change_word(r, text):
    words = text.split(" ")
    i = r.choice([i for i, w in enumerate(words) if "#" not in w and "\n" not in w])
    return " ".join([*words[:i], "완전히" if words[i] != "완전히" else "전혀", *words[i + 1 :]])


def registration(r):
    digits = f"{r.randrange(60, 99)}{r.randrange(1, 13):02}{r.randrange(1, 29):02}{r.choice('12')}{r.randrange(10**5):05}"
    return f"{digits[:6]}-{digits[6:]}{(11 - sum(int(d) * w for d, w in zip(digits, (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5))) % 11) % 10}"


def card(r):
    digits = f"4{r.randrange(10**14):014}"
    check = -sum(sum(divmod(int(d) * (2 - i % 2), 10)) for i, d in enumerate(reversed(digits))) % 10
    return "-".join(re.findall("....", digits + str(check)))


def other_number(r, row):
    n = next(n for n in r.sample(range(11, 97), 80) if n not in amounts(row["dialogue"]))
    told = row["summaries"][0]
    return (
        re.sub(r"(?<![A-Za-z\d,.])\d+(?![\d,.])", str(n), told, count=1)
        if re.search(r"(?<![A-Za-z\d,.])\d+(?![\d,.])", told)
        else f"{told} 비용은 {n}달러이다."
    )


def other_name(r, row):  # somebody else does it
    name = r.choice([n for n in NAMES if n not in row["dialogue"]])
    return (
        re.sub(r"#Person\d#", name, row["summaries"][0], count=1)
        if "#Person" in row["summaries"][0]
        else f"{name}은 " + row["summaries"][0]
    )


def at(r, text, extra):  # somewhere between two words of a turn
    places = [m.start() for m in re.finditer(r"(?<=[가-힣.,?!]) (?=[가-힣])", text)]
    i = r.choice(places) if places else len(text)
    return text[:i] + extra + text[i:]


def said(f):
    return lambda r, row: row | dict(dialogue=f(r, row["dialogue"]))


def told(f):
    return lambda r, row: row | dict(summaries=(f(r, row),))


def inserted(make):
    return said(lambda r, d: at(r, d, make(r)))


DAMAGE = {  # name → (kind that must be found, what is done to a row)
    "UTF-8 as cp1252": ("mojibake", said(lambda r, d: d.encode().decode("sloppy-windows-1252"))),
    "UTF-8 as cp1253": ("mojibake", said(lambda r, d: d.encode().decode("sloppy-windows-1253"))),
    "UTF-8 as latin-1, summary": (
        "mojibake",
        told(lambda r, row: row["summaries"][0].encode().decode("latin-1")),
    ),
    "UTF-8 as CP949": ("mojibake", said(lambda r, d: d.encode().decode("cp949", errors="replace"))),
    "phone": ("private", inserted(lambda r: f" 010-{r.randrange(2000, 9999)}-{r.randrange(10**4):04}")),
    "registration number": ("private", inserted(lambda r: " " + registration(r))),
    "card": ("private", inserted(lambda r: " " + card(r))),
    "e-mail": ("private", inserted(lambda r: f" user{r.randrange(1000)}@mail{r.randrange(9)}.co.kr")),
    "broken tag": (
        "broken_tag",
        said(
            lambda r, d: d.replace(
                "#Person1#", r.choice(["#Ferson1#", "#Person1", "Person1#", "#Pson1#", "＃Person1＃"]), 1
            )
        ),
    ),
    "broken tag, summary": ("broken_tag", told(lambda r, row: "#Pesron1#은 " + row["summaries"][0])),
    "foreign tag": ("foreign_tag", told(lambda r, row: row["summaries"][0] + " #Person7#에게도 말한다.")),
    "HTML": ("html", inserted(lambda r: r.choice(["<br>", "&nbsp;", "</p>", "&quot;"]))),
    "control": ("control", inserted(lambda r: r.choice("\u200b\x07\ufeff\x1b\u202e\xa0"))),
    "jamo": ("jamo", inserted(lambda r: r.choice(["ㅂ니다", "ㄴ데", "핟ㅔ", "ㅎㅏ"]))),
    "number": ("number", told(other_number)),
    "name": ("name", told(other_name)),
    "copied": (
        "copied",
        told(
            lambda r, row: (
                " ".join(re.sub(r"#\w+#: ", "", t).strip() for t in row["dialogue"].split("\n")[:3]) or "x"
            )
        ),
    ),
    "long summary": (
        "long_summary",
        told(
            lambda r, row: " ".join(
                [row["summaries"][0]]
                * (2 + len(row["dialogue"]) // max(1, len(re.sub("#.*?#", "", row["summaries"][0]))))
            )
        ),
    ),
    "speaker gap": (
        "speaker_gap",
        lambda r, row: row | dict(dialogue=row["dialogue"].replace("#Person2#", "#Person5#")),
    ),
    "English summary": (
        "language",
        told(lambda r, row: "#Person1# wants to talk about the plan and #Person2# agrees with it."),
    ),
    "empty summary": ("empty", told(lambda r, row: r.choice(["", " ... ", "#Person1#"]))),
    "joined turns": ("turns", said(lambda r, d: d.replace("\n", " ", 1))),
    "swapped": ("swapped", None),
    "duplicate": ("duplicate", None),
    "leak": ("leak", None),
}


def plant(train, dev, clean, each, seed):
    "(parts, name → (fname, kind) planted, untouched rows)"
    r, rows = random.Random(seed), train.to_dict("records")
    r.shuffle(rows)
    fine, rest, planted = rows[:clean], rows[clean : clean + each * len(DAMAGE)], []
    spoilt = []
    for n, (name, (kind, damage)) in enumerate(DAMAGE.items()):
        group = rest[n * each : (n + 1) * each]
        if name == "swapped":
            group = [
                row | dict(summaries=next_["summaries"]) for row, next_ in zip(group, group[1:] + rest[:1])
            ]
        elif name == "duplicate":
            group = [r.choice(fine) | dict(fname=row["fname"]) for row in group]
        elif name == "leak":
            group = [
                row | dict(dialogue=change_word(r, source["dialogue"]), summaries=source["summaries"])
                for row, source in zip(group, r.sample(dev.to_dict("records"), each))
            ]
        else:
            group = [damage(r, row) for row in group]
        planted += [(name, kind, row["fname"]) for row in group]
        spoilt += group
    return (
        dict(train=pd.DataFrame(fine + spoilt), dev=dev),
        planted,
        {row["fname"] for row in fine} | set(dev["fname"]),
    )


def score(parts, planted, untouched):
    "(share found, what was missed, share of untouched rows with an error)"
    quality = check(parts)
    found = {(f.fname, f.kind) for f in quality.findings}
    missed = [(name, fname) for name, kind, fname in planted if (fname, kind) not in found]
    # of two equal rows the later is at fault: every duplicate is planted behind its original
    wrong = {
        f.fname for f in quality.findings if f.fname in untouched and DEFECTS[f.kind].severity == "error"
    }
    return 1 - len(missed) / len(planted), missed, len(wrong) / len(untouched)


def test_planted_defects_are_found_in_the_sample():
    train, dev = (read(sample_path() / f"{p}.csv", summaries=True) for p in ("train", "dev"))
    results = [score(*plant(train, dev, 64 - len(DAMAGE), 1, seed)) for seed in range(4)]
    assert sum(found for found, *_ in results) / 4 >= 0.95, [missed for _, missed, _ in results]
    assert sum(wrong for *_, wrong in results) / 4 <= 0.02, results
    assert max(Counter(name for _, missed, _ in results for name, _ in missed).values(), default=0) <= 2, (
        "a sort of defect is hardly found at all"
    )


def test_300_planted_defects_among_500_clean_rows(shared):
    train, dev = (
        read(shared / "data" / "kodialogsum" / f"{p}.csv", summaries=True) for p in ("train", "dev")
    )
    found, missed, wrong = score(*plant(train, dev.sample(50, random_state=1), 450, 12, seed=1))
    print(f"found {found:.1%}, untouched rows with an error {wrong:.1%}, missed {missed}")
    assert found >= 0.95, missed
    assert max(Counter(name for name, _ in missed).values(), default=0) <= 6, (
        "a sort of defect is hardly found at all"
    )
    assert wrong <= 0.02


def test_the_real_data(shared):
    parts = {
        p: read(shared / "data" / "kodialogsum" / f"{p}.csv", summaries=p != "test")
        for p in ("train", "dev", "test")
    }
    quality = check(parts)
    assert set(quality.counts.index) <= {
        "swapped",
        "unrelated",
        "near_duplicate",
        "near_leak",
        "turns",
        "length",
        "number",
        "name",
        "copied",
    }, quality.counts
    assert len(quality.bad()) < 0.02 * len(quality.rows)
    mended = {p: repaired(f) for p, f in parts.items()}
    assert all(mended[p]["summaries"].equals(f["summaries"]) for p, f in parts.items())
    changed = sum((mended[p]["dialogue"] != f["dialogue"]).sum() for p, f in parts.items())
    assert changed == sum(quality.counts.loc["turns"])  # nothing but the turns that stand in one line


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
