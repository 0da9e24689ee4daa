"What the tests of solar share"

import json
import sqlite3
import threading
from collections import Counter

import pandas as pd
from support.chat import KEY, quickly, serving, told  # noqa: F401 (a fixture that acts by itself)

from dialsum.api.summaries import (
    Solar,
)
from dialsum.data.dialogues import read
from dialsum.runs.places import sample_path

DEV, TRAIN = (read(sample_path() / f"{part}.csv", summaries=True) for part in ("dev", "train"))


def asked_of(asked):
    return asked["messages"][-1]["content"].partition("<대화>\n")[2].partition("\n</대화>")[0]


def many_rows(n):  # dialogues that are all different, and what a model would say of each
    rows = pd.concat([DEV, TRAIN], ignore_index=True)
    picked = [rows.iloc[i % len(rows)] for i in range(n)]
    return {
        f"{r['dialogue']}\n#Person1#: 접수 번호는 {i}번입니다.": r["summaries"][0]
        for i, r in enumerate(picked)
    }


class Model:
    "Answers with the known summaries, after faults; knows which question it has answered, and how often"

    def __init__(self, known, fault=lambda n, dialogue: None):
        self.known, self.fault, self.answered, self.tried, self.lock = (
            known,
            fault,
            Counter(),
            Counter(),
            threading.Lock(),
        )

    def __call__(self, n, asked, handler):
        text = json.dumps(asked["messages"], ensure_ascii=False) + str(asked.get("seed"))
        with self.lock:
            self.tried[text] += 1
        answer = self.fault(n, asked_of(asked))
        if answer == "cut off":
            return None
        if answer is not None:
            return answer
        with self.lock:
            self.answered[text] += 1
        return self.known[asked_of(asked)]


def fast(server, **more):
    return Solar(server.url, **(dict(per_minute=10**6, timeout=5) | more))


def _stored(path):  # answers in the cache
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            return db.execute("select count(*) from answers").fetchone()[0]
    except sqlite3.Error:
        return 0
