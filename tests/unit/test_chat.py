"A client that loses nothing, whatever the endpoint does; every endpoint here is a real server on this machine"

import sqlite3
import threading
import time
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from support.chat import KEY, quickly, serving, told  # noqa: F401

from dialsum.endpoints import question
from dialsum.endpoints.answers import Answers
from dialsum.endpoints.client import Chat
from dialsum.endpoints.rate_limit import Rate
from dialsum.endpoints.replies import Refused
from dialsum.runs.errors import DialsumError


def echo(n, asked, handler):
    return asked["messages"][-1]["content"] + "!"


def test_retry_after_as_a_date():
    def reply(n, asked, handler):
        return (
            (
                429,
                {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)},
                b"",
            )
            if n == 1
            else "fine"
        )

    with serving(reply) as server:
        started = time.monotonic()
        assert Chat(server.url, "m").one("hello") == "fine" and time.monotonic() - started > 0.9


def test_a_pause_that_the_endpoint_asks_for_holds_all_threads():
    with serving(
        lambda n, asked, handler: (429, {"Retry-After": "1"}, b"") if n == 1 else echo(n, asked, handler)
    ) as server:
        assert Chat(server.url, "m", at_once=1).many(list("abcd")) == ["a!", "b!", "c!", "d!"]
        assert server.moments[1] - server.moments[0] >= 1


def test_waits_grow_and_differ(monkeypatch):
    monkeypatch.setattr(question, "FIRST_WAIT", 0.05)

    def gaps():
        with serving(lambda n, asked, handler: (500, {}, b"")) as server:
            with pytest.raises(DialsumError, match="the last of 4 tries"):
                Chat(server.url, "m", retries=3).one("q")
            return [b - a for a, b in zip(server.moments, server.moments[1:])]

    one, other = gaps(), gaps()
    for waits in (one, other):
        assert all(0.025 * 2**k <= w < 0.075 * 2**k + 0.15 for k, w in enumerate(waits)), waits
    assert any(abs(a - b) > 1e-3 for a, b in zip(one, other))


@pytest.mark.parametrize(
    ("answer", "words", "requests"),
    [
        (
            (401, {}, dict(error=dict(message=f"Incorrect API key provided: {KEY}"))),
            "does not accept the key in TEST_API_KEY",
            1,
        ),
        ((403, {}, b""), "does not accept the key", 1),
        ((404, {}, dict(error=dict(message="unknown model"))), "no model 'm' there", 1),
        (
            (400, {}, dict(error=dict(message=f"bad ({KEY[:12]}…) {KEY[5:]} and a {'long ' * 300}"))),
            "question for 'm' (bad … …",
            1,
        ),
        ((422, {}, dict(error="temperature")), "(temperature)", 1),
        ((400, {}, dict(detail="x")), "answered 400 to a question for 'm':", 1),
        ((301, {"Location": "http://127.0.0.1:1/"}, b""), "leads to another address", 1),
        ((200, {}, b"<html>"), "did not answer as an endpoint does", 1),
        ((200, {}, [1]), "did not answer as an endpoint", 1),
        ((200, {}, dict(error=dict(message="quota"))), "(quota)", 1),
        ((200, {}, dict(choices="none")), "did not answer as", 1),
        ((429, {"Retry-After": "900"}, b""), "left alone for 900 s", 1),
        (
            (500, {}, dict(error=dict(message=f"{KEY} broke"))),
            "answered 500 (… broke), the last of 2 tries",
            2,
        ),
        (None, "cannot be reached or broke off, the last of 2 tries", 2),
        ("hang", "said nothing for 1 s", 2),
    ],
)
def test_what_will_not_pass_is_one_sentence_without_the_key(answer, words, requests, monkeypatch, tmp_path):
    monkeypatch.setenv("TEST_API_KEY", f" {KEY}\n")

    def reply(n, asked, handler):
        return time.sleep(2) if answer == "hang" else answer

    with serving(reply) as server:
        chat = Chat(
            server.url,
            "m",
            key_variable="TEST_API_KEY",
            retries=1,
            timeout=1 if answer == "hang" else 60,
            cache=tmp_path / "answers.sqlite",
        )
        with pytest.raises(DialsumError) as e:
            chat.one("question")
        assert (
            words in str(e.value)
            and "\n" not in str(e.value)
            and len(str(e.value)) < 450
            and len(server.seen) == requests
        )
        assert server.keys == [f"Bearer {KEY}"] * requests
    shown = (
        "".join(traceback.TracebackException.from_exception(e.value, capture_locals=True).format())
        + repr(e.value)
        + repr(chat)
        + str(vars(chat))
    )
    pieces = {KEY[i : i + 8] for i in range(len(KEY) - 7)}
    assert (
        not any(p in text for p in pieces for text in (repr(e.value), repr(chat), str(vars(chat))))
        and f"Bearer {KEY}" not in shown
    )
    assert not any(KEY[:10].encode() in p.read_bytes() for p in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (told("", choices=[]), "no choices"),
        (told(""), "answer is empty"),
        (told("  \n"), "answer is empty"),
        (told(None), "answer is empty"),
        (told("", choices=[None]), "no choices"),
        (told("", choices=[dict(message=dict(content=None, refusal="I will not."))]), "I will not"),
        (told("", choices=[dict(message=dict(content="half a"), finish_reason="content_filter")]), "filter"),
        (
            told("", choices=[dict(message=dict(content=None), finish_reason="length")]),
            "max_tokens was too little",
        ),
    ],
)
def test_a_refusal_is_an_error_or_what_stands_for_it(body, words):
    with serving(
        lambda n, asked, handler: (200, {}, body) if "bad" in asked["messages"][0]["content"] else "fine"
    ) as server:
        chat = Chat(server.url, "m")
        with pytest.raises(Refused, match=words):
            chat.one("bad")
        assert (
            chat.many(["good", "bad", "good too"], refused="") == ["fine", "", "fine"]
            and chat.used.refused == 2
        )


def test_other_shapes_of_an_answer():
    bodies = dict(
        parts=told([dict(type="text", text="하나 "), dict(type="text", text="둘"), dict(type="image")]),
        cut=told("x", choices=[dict(message=dict(content="up to he"), finish_reason="length")]),
        usage=told("no usage", usage=None),
        odd=told("odd usage", usage=dict(prompt_tokens="7")),
        surrogate=told("a\ud800b"),
    )
    with serving(lambda n, asked, handler: (200, {}, bodies[asked["messages"][0]["content"]])) as server:
        chat = Chat(server.url, "m")
        assert (
            chat.many(list(bodies)) == ["하나 둘", "up to he", "no usage", "odd usage", "a?b"]
            and chat.used.cut == 1
            and chat.used.prompt_tokens == 21
        )


def test_order_is_kept_and_so_many_are_under_way():
    def reply(n, asked, handler):
        time.sleep(0.12 - 0.01 * int(asked["messages"][0]["content"]))
        return echo(n, asked, handler)

    with serving(reply) as server:
        assert Chat(server.url, "m", at_once=4).many([str(i) for i in range(12)]) == [
            f"{i}!" for i in range(12)
        ]
        assert server.most == 4 and len(server.seen) == 12


def test_the_rate_holds_for_all_threads(monkeypatch):
    with serving(echo) as server:
        chat = Chat(server.url, "m", at_once=8)
        chat.rate = Rate(5, window=0.5)
        threads = [threading.Thread(target=chat.many, args=([f"{t}{i}" for i in range(8)],)) for t in "ab"]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(server.seen) == 16 and server.moments[-1] - server.moments[0] >= 1.4
        assert all(
            b - a > 0.4 for a, b in zip(server.moments, server.moments[5:])
        )  # a sixth request within the window: never


def test_two_threads_use_one_client(tmp_path):
    with serving(echo) as server:
        chat, found = Chat(server.url, "m", cache=tmp_path / "a.sqlite", per_minute=1000), {}
        threads = [
            threading.Thread(target=lambda t=t: found.update({t: chat.many([f"{t}{i}" for i in range(12)])}))
            for t in "ab"
        ]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert (
            found == {t: [f"{t}{i}!" for i in range(12)] for t in "ab"}
            and chat.used.requests == 24
            and chat.used.completion_tokens == 72
        )


def test_what_was_answered_is_never_asked_again(tmp_path):
    with serving(
        lambda n, asked, handler: (
            (400, {}, b"") if "stop" in asked["messages"][0]["content"] else echo(n, asked, handler)
        )
    ) as server:

        def ask(questions, **options):
            return Chat(
                server.url, "m", at_once=1, cache=tmp_path / "deep" / "a.sqlite", prices=(1.0, 2.0)
            ).many(questions, **options)

        with pytest.raises(DialsumError, match="answered 400"):
            ask(["a", "b", "stop", "c", "d"])
        sent = len(server.seen)
        assert (
            3 <= sent <= 4 and ask(["a", "b", "c", "d"]) == ["a!", "b!", "c!", "d!"] and len(server.seen) <= 5
        )
        server.seen.clear()
        chat = Chat(server.url, "m", cache=tmp_path / "deep" / "a.sqlite", prices=(1.0, 2.0))
        assert (
            chat.many(["d", "a", "a"]) == ["d!", "a!", "a!"]
            and not server.seen
            and (chat.used.requests, chat.used.cached, chat.used.cost) == (0, 2, 0)
        )
        for other in (
            dict(temperature=0.5),
            dict(max_tokens=9),
            dict(max_tokens=None),
            dict(seed=1),
            dict(top_p=0.9),
        ):
            ask(["a"], **other)
        Chat(server.url, "other", cache=tmp_path / "deep" / "a.sqlite").one("a")
        ask([[dict(role="system", content="be brief"), dict(role="user", content="a")]])
        assert len(server.seen) == 7  # another question each


def test_samples_are_questions_of_their_own(tmp_path):
    with serving(
        lambda n, asked, handler: f"{asked['messages'][0]['content']} {asked.get('seed')}"
    ) as server:
        chat = Chat(server.url, "m", cache=tmp_path / "a.sqlite")
        assert chat.many(["a", "b"], n=2, seed=[10, 20], temperature=1.0) == ["a 10", "a 11", "b 20", "b 21"]
        assert len(chat.many(["a"], n=3)) == 3 and len(server.seen) == 7
        assert (
            "seed" not in server.seen[-1]
            and chat.many(["a", "b"], n=2, seed=[10, 20], temperature=1.0)[3] == "b 21"
            and len(server.seen) == 7
        )


def test_tokens_and_cost_are_summed():
    with serving(echo) as server:
        chat = Chat(server.url, "m", prices=(2.0, 10.0))
        chat.many(list("abcdefghij"))
        assert (chat.used.prompt_tokens, chat.used.completion_tokens) == (
            70,
            30,
        ) and chat.used.cost == pytest.approx((70 * 2 + 30 * 10) / 1e6)


def test_progress_is_told(monkeypatch):
    ticks = iter(range(0, 10000, 6))
    with serving(echo) as server:
        chat, seen = Chat(server.url, "m"), []
        monkeypatch.setattr(time, "monotonic", lambda: float(next(ticks)))
        chat.many(list("abc"), progress=lambda *told: seen.append(told))
    assert [s[:2] for s in seen] == [(1, 3), (2, 3), (3, 3)] and seen[-1][2] == 0 and seen[0][2] > 0


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: p.write_bytes(b"nothing like a database\n" * 40),
        lambda p: p.write_bytes(p.read_bytes()[:5000] + b"\xff" * 3000),
    ],
)
def test_a_broken_cache_is_set_aside_with_a_sentence(spoil, tmp_path, capsys):
    cache = Answers(tmp_path / "a.sqlite")
    for i in range(12):
        cache.put({f"{i:064}": "text " * 300})
    spoil(cache.path)
    with serving(echo) as server:
        chat = Chat(server.url, "m", cache=cache.path)
        assert chat.many(["a", "b"]) == ["a!", "b!"] == chat.many(["a", "b"]) and len(server.seen) == 2
    assert "is no whole SQLite file" in capsys.readouterr().out and (tmp_path / "a.sqlite.broken").is_file()


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "a.sqlite", tmp_path):
        with pytest.raises(DialsumError, match="cannot keep answers"):
            Answers(path).get(["k"])
    with sqlite3.connect(tmp_path / "other.sqlite") as db:
        db.execute("create table answers (something int)")
    with pytest.raises(DialsumError, match="cannot keep answers"):
        Answers(tmp_path / "other.sqlite").get(["k"])


def test_where_keys_are_looked_for(monkeypatch):
    def ask(url, **more):
        return Chat(url, "solar", **more)

    assert (
        "UPSTAGE_API_KEY or SOLAR_API_KEY" in ask("https://api.upstage.ai/v1").missing()
        and "OPENAI_API_KEY" in ask("https://upstage.ai.example.com").missing()
    )
    assert (
        ask("http://localhost:1").missing() == ""
        and "MY_KEY" in ask("http://localhost:1", key_variable="MY_KEY").missing()
    )
    monkeypatch.setenv("SOLAR_API_KEY", KEY)
    chat = ask("https://api.upstage.ai/v1/")
    assert (
        chat.missing() == ""
        and chat.variable == "SOLAR_API_KEY"
        and chat.address == "https://api.upstage.ai/v1/chat/completions"
    )
    monkeypatch.setenv("UPSTAGE_API_KEY", "two words")
    assert (
        chat.variable == "UPSTAGE_API_KEY"
        and "copy it anew" in chat.missing()
        and "two words" not in chat.missing()
    )
    with pytest.raises(DialsumError, match="copy it anew"):
        chat.one("q")


def test_a_key_is_sent_only_where_it_belongs(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    with serving(echo) as server:
        Chat(server.url, "m").one("q")
        Chat(server.url, "m", key_variable="OPENAI_API_KEY").one("q")
        assert server.keys == [None, f"Bearer {KEY}"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(url="ftp://x"), "cannot be read"),
        (dict(url="https://u:p4ss@x.com"), "holds a user name"),
        (dict(url="https://x.com:port"), "cannot be read"),
        (dict(model=""), "without a model"),
        (dict(key_variable="up_4711"), "not the key"),
        (dict(per_minute=0), "per_minute is 0"),
        (dict(at_once=0), "at_once is 0"),
        (dict(timeout=float("nan")), "timeout is nan"),
        (dict(retries=-1), "retries is -1"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(DialsumError, match=words) as e:
        Chat(**(dict(url="http://localhost:1", model="m") | options))
    assert "p4ss" not in str(e.value) and "up_4711" not in str(e.value)


def test_nobody_there():
    with pytest.raises(DialsumError, match="cannot be reached or broke off, the last of 3 tries"):
        Chat("http://127.0.0.1:9", "m", retries=2).one("q")
