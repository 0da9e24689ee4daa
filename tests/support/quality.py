"What the tests of quality share"

import random
import re

import pandas as pd

from dialsum.data.quality import DEFECTS, check
from dialsum.korean.numerals import amounts

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
