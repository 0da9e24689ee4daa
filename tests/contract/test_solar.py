"Summaries from an endpoint: none lost, none paid for twice, whatever the endpoint does; every endpoint here is a real server on this machine"

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from support.chat import KEY, quickly, serving, told  # noqa: F401 (a fixture that acts by itself)
from support.solar import Model, _stored, asked_of, fast, many_rows

FAULTS = {
    "busy": lambda: (429, {}, dict(error=dict(message="slow down"))),
    "busy, with a time": lambda: (429, {"Retry-After": "0.05"}, b""),
    "broken": lambda: (500, {}, b"oh"),
    "overloaded": lambda: (503, {}, b""),
    "cut off": lambda: "cut off",
    "half": lambda: (200, {"Content-Length": 900}, b'{"choices": [{"mess'),
    "malformed": lambda: (200, {}, b'{"choices": [{"message": {"content": "'),
    "no JSON": lambda: (200, {}, b"upstream timeout"),
    "no choice": lambda: (200, {}, told("", choices=[])),
    "empty": lambda: (200, {}, told("")),
    "slow": lambda: time.sleep(0.3),
    "silent": lambda: time.sleep(7) or "cut off",
}


@pytest.mark.slow
def test_five_hundred_requests_with_faults_in_a_fifth_of_them(tmp_path, monkeypatch):
    monkeypatch.setenv("SOLAR_API_KEY", KEY)
    known, chance = many_rows(500), random.Random(1)
    silent, filtered, refused = (
        chance.sample(range(600), 4),
        set(chance.sample(list(known), 4)),
        set(chance.sample(list(known), 3)),
    )

    def fault(n, dialogue):
        if dialogue in filtered:
            return (
                200,
                {},
                told("", choices=[dict(message=dict(content="ha"), finish_reason="content_filter")]),
            )
        if dialogue in refused:
            return 400, {}, dict(error=dict(message=f"too long for {KEY}"))
        if n in silent:
            return FAULTS["silent"]()
        name = (
            random.Random(f"{n}").choice([k for k in FAULTS if k != "silent"])
            if random.Random(f"chance {n}").random() < 0.2
            else ""
        )
        return FAULTS[name]() if name else None

    model = Model(known, fault)
    with serving(model) as server:
        solar = fast(server, cache=tmp_path / "a.sqlite", timeout=6, at_once=8)
        done = solar.summarize(list(known))
        sent = len(server.seen)
        assert set(server.keys) == {f"Bearer {KEY}"}
    assert 500 < sent < 900 and done.facts["requests"] == sent
    lost = done.rows[done.rows["failed"] != ""]
    assert (
        len(done.rows) == 500
        and {list(known)[i] for i in lost.index} >= filtered | refused
        and len(lost) < 15
    )
    assert all("filter" in done.rows["failed"][list(known).index(d)] for d in filtered) and all(
        "too long for …" in done.rows["failed"][list(known).index(d)] for d in refused
    )
    kept = done.rows[done.rows["failed"] == ""]
    assert (
        kept["text"].tolist() == [s for i, s in enumerate(known.values()) if i in kept.index]
        and kept["valid"].all()
        and (lost["text"] == "").all()
        and not lost["valid"].any()
    )
    assert set(model.answered.values()) == {1}  # none twice
    assert (
        done.facts["answered"] == len(kept)
        and [f["row"] for f in done.facts["failed"]] == list(lost.index)
        and all(set(f["reason"]) == {"code", "fields"} for f in done.facts["failed"])
        and not any(KEY[i : i + 8] in json.dumps(done.facts) for i in range(len(KEY) - 7))
    )
    assert KEY.encode() not in b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


CHILD = """import json, sys
from dialsum.api.summaries import Solar
dialogues = json.load(open(sys.argv[2]))
done = Solar(sys.argv[1], cache=sys.argv[3], per_minute=10**6, at_once=4).summarize(dialogues, progress=print)
json.dump(done.rows['text'].tolist(), open(sys.argv[4], 'w')); print(done.facts)
"""


def test_killed_and_resumed_no_answer_is_paid_for_twice(tmp_path):
    known = many_rows(240)
    (tmp_path / "in.json").write_text(json.dumps(list(known)))
    gate, stops, answered, lock = threading.Event(), [120], Counter(), threading.Lock()

    def answer(n, asked, handler):  # from a moment on all questions wait, and are never answered
        with lock:
            full = stops and sum(answered.values()) >= stops[0]
            if not full:
                answered[asked_of(asked)] += 1
        if full:
            gate.wait(30)
            return None
        return known[asked_of(asked)]

    with serving(answer) as server:
        words = [sys.executable, "-c", CHILD, server.url, "in.json", "a.sqlite", "out.json"]

        def start():
            return subprocess.Popen(
                words,
                cwd=tmp_path,
                env=os.environ | dict(UPSTAGE_API_KEY=KEY),
                stdout=open(tmp_path / "log.txt", "ab"),
                stderr=subprocess.STDOUT,
            )

        child, end = start(), time.monotonic() + 600
        while _stored(tmp_path / "a.sqlite") < 120 and time.monotonic() < end and child.poll() is None:
            time.sleep(0.02)
        child.kill()
        child.wait()
        assert child.returncode == -signal.SIGKILL and sum(answered.values()) == 120 == _stored(
            tmp_path / "a.sqlite"
        )
        gate.set()
        stops.clear()
        assert start().wait(600) == 0, (tmp_path / "log.txt").read_text()
        assert set(server.keys) == {f"Bearer {KEY}"}
    assert json.loads((tmp_path / "out.json").read_text()) == list(known.values())
    assert set(answered) == set(known) and set(answered.values()) == {1}
    assert not (tmp_path / "a.sqlite.broken").exists()
    everything = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert not any(KEY[i : i + 10].encode() in everything for i in range(len(KEY) - 9))
