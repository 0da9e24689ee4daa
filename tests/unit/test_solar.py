"Summaries from an endpoint: none lost, none paid for twice, whatever the endpoint does; every endpoint here is a real server on this machine"

import json
import sqlite3
from collections import Counter

import pandas as pd
import pytest
from support.chat import KEY, quickly, serving, told  # noqa: F401 (a fixture that acts by itself)
from support.solar import DEV, TRAIN, Model, _stored, asked_of, fast, many_rows

from dialsum.api.chat_prompts import chat_messages, needs
from dialsum.api.contract import Contract, learn
from dialsum.api.drafts import consensus
from dialsum.api.judgement import answer_faults, judge_answer, tidy
from dialsum.api.metrics import ApiMetrics
from dialsum.api.neighbours import Neighbours
from dialsum.api.sampled_scores import compare_scores, sample_rows, score_rows
from dialsum.api.summaries import Solar
from dialsum.data.dialogues import read
from dialsum.endpoints.client import Chat
from dialsum.endpoints.replies import Failed, Refused
from dialsum.runs.error_facts import error_message
from dialsum.runs.errors import DialsumError


def test_a_second_run_asks_only_what_failed_on_its_way(tmp_path):
    known = many_rows(30)
    bad, filtered, down = list(known)[3], list(known)[5], [True]
    model = Model(
        known,
        lambda n, d: (
            (400, {}, b"")
            if d == bad and down[0]
            else (200, {}, told("", choices=[dict(message={}, finish_reason="content_filter")]))
            if d == filtered
            else None
        ),
    )
    with serving(model) as server:
        first = fast(server, cache=tmp_path / "a.sqlite").summarize(list(known))
        assert (
            first.facts["answered"] == 28 and first.facts["refused"] == 3
        )  # the filtered one was asked for once more
        server.seen.clear()
        down[0] = False
        again = fast(server, cache=tmp_path / "a.sqlite").summarize(list(known))
        assert (
            len(server.seen) == 1 == again.facts["requests"]
            and again.facts["answered"] == 29
            and again.facts["failed"][0]["row"] == 5
            and "filter" in again.rows["failed"][5]
        )
        [refused] = ApiMetrics.of(**again.facts).failed  # as the stage records it, and its report reads it
        said = error_message(refused.reason, "ko").what
        assert said.startswith("이전에 거절된 요청입니다") and "필터가 응답을 차단했습니다" in said
        server.seen.clear()
        assert (
            fast(server, cache=tmp_path / "a.sqlite").summarize(list(known)).rows.equals(again.rows)
            and not server.seen
        )


@pytest.mark.parametrize(
    ("answer", "words", "most"),
    [
        (
            (401, {}, dict(error=dict(message=f"Incorrect API key: {KEY}"))),
            "does not accept the key in SOLAR_API_KEY",
            8,
        ),
        ((404, {}, dict(error=dict(message="model not found"))), "no model 'solar-9' there", 8),
        ((402, {}, b""), "wants to be paid", 8),
        ((400, {}, dict(error=dict(message="no such model"))), "answered 400", 30),
        ((200, {}, b"<html>"), "did not answer as an endpoint", 30),
        ((500, {}, b""), "the last of 2 tries", 60),
    ],
)
def test_what_no_question_can_change_ends_all_with_one_sentence(answer, words, most, monkeypatch, tmp_path):
    monkeypatch.setenv("SOLAR_API_KEY", KEY)
    with serving(lambda n, asked, handler: answer) as server:
        with pytest.raises(DialsumError, match=words) as e:
            fast(server, model="solar-9", retries=1, cache=tmp_path / "a.sqlite").summarize(
                list(many_rows(60))
            )
        assert len(server.seen) <= most and KEY[4:12] not in str(e.value) and "\n" not in str(e.value)
        with pytest.raises(DialsumError, match=words):
            fast(server, model="solar-9", retries=1).summarize(list(many_rows(2)))


def test_an_endpoint_that_goes_down_on_the_way_ends_it_and_keeps_what_came(tmp_path):
    known = many_rows(60)
    with serving(lambda n, asked, handler: known[asked_of(asked)] if n <= 20 else (500, {}, b"")) as server:
        with pytest.raises(Failed, match="what it has answered is kept"):
            fast(server, retries=1, cache=tmp_path / "a.sqlite").summarize(list(known))
        assert _stored(tmp_path / "a.sqlite") == 20 and len(server.seen) < 20 + 2 * 30


def test_without_a_key_nothing_is_asked(monkeypatch, tmp_path):
    monkeypatch.delenv("SOLAR_BASE_URL", raising=False)
    solar = Solar(cache=tmp_path / "a.sqlite")
    assert (
        solar.missing()
        == "api.upstage.ai needs a key: set the environment variable UPSTAGE_API_KEY or SOLAR_API_KEY to it."
    )
    with pytest.raises(DialsumError, match="needs a key"):
        solar.summarize(["#Person1#: 안녕"])
    assert (
        not list(tmp_path.iterdir())
        and solar.chat.address == "https://api.upstage.ai/v1/chat/completions"
        and solar.chat.model == "solar-pro2"
    )


def test_where_and_with_which_key(monkeypatch):
    monkeypatch.setenv("UPSTAGE_API_KEY", KEY)
    monkeypatch.setenv("SOLAR_BASE_URL", "https://llm.example.com/v1")
    assert (
        "OPENAI_API_KEY" in Solar().missing() and Solar("https://api.upstage.ai/v1").missing() == ""
    )  # Upstage's key is for Upstage
    monkeypatch.setenv("SOLAR_API_KEY", KEY)
    assert (
        Solar().chat.variable == "SOLAR_API_KEY"
        and Solar().chat.host == "llm.example.com"
        and Solar("http://10.0.0.1/v1").chat.variable == ""
    )
    assert (
        Solar("https://api.upstage.ai/v1").chat.variable == "UPSTAGE_API_KEY"
        and Solar(key_variable="MY_KEY").chat.variable == "MY_KEY"
    )
    assert Solar(model="solar-1-chat").chat.model == "solar-1-chat" and KEY not in repr(Solar()) + str(
        vars(Solar())
    ) + str(vars(Solar().chat))


def test_what_is_wrong_is_asked_for_once_more_and_never_twice():
    dialogues = list(DEV["dialogue"][:5])
    known = dict(zip(dialogues, DEV["summaries"].str[0]))
    wrong = dict(
        zip(
            dialogues,
            [
                "#Person9#이 왔다.",
                "짧다.",
                "He is here and says that all of it will be fine, and she agrees with him on that.",
                "",
                '요약: "{}"',
            ],
        )
    )
    stubborn, counted = dialogues[1], Counter()

    def reply(n, asked, handler):
        d = asked_of(asked)
        counted[d] += 1
        return (
            wrong[d].format(known[d])
            if "고칠 점" not in asked["messages"][-1]["content"] or d == stubborn
            else f"**요약**\n{known[d]}"
        )

    with serving(reply) as server:
        done = fast(server).summarize(dialogues)
        assert [asked["temperature"] for asked in server.seen] == [0.0] * 9 and not any(
            "seed" in asked for asked in server.seen
        )
        told = {
            asked_of(asked): asked["messages"][-1]["content"]
            for asked in server.seen
            if "고칠 점" in asked["messages"][-1]["content"]
        }
    assert [counted[d] for d in dialogues] == [2, 2, 2, 2, 1]
    assert done.rows["text"].tolist() == [
        known[dialogues[0]],
        "짧다.",
        known[dialogues[2]],
        known[dialogues[3]],
        known[dialogues[4]],
    ]
    assert (
        done.rows["valid"].tolist() == [True, False, True, True, True]
        and done.rows["repaired"].tolist() == [True, False, True, True, False]
        and done.rows["faults"].tolist() == ["", "short", "", "", ""]
    )
    assert (
        "#Person9#" in told[dialogues[0]]
        and "너무 짧" in told[stubborn]
        and "한글" in told[dialogues[2]]
        and "비어" in told[dialogues[3]]
    )
    assert (
        done.facts["asked_again"] == 4
        and done.facts["repaired"] == 3
        and done.facts["faults"] == dict(short=1)
        and json.dumps(done.facts)
    )


def test_few_shot_shows_neighbours_and_never_the_row_itself():
    texts, told = list(TRAIN["dialogue"][:6]), dict(zip(TRAIN["dialogue"], TRAIN["summaries"].str[0]))
    twin = TRAIN.iloc[[0]].assign(fname="twin", dialogue=lambda r: r["dialogue"].str.replace("요", "용"))
    made = TRAIN.iloc[[1]].assign(
        fname="made", dialogue="#Person1#: 전혀 다른 말입니다.\n#Person2#: 그렇군요.", origin="train_1"
    )
    rows = pd.concat([TRAIN, twin, made], ignore_index=True).fillna(dict(origin=""))
    with serving(lambda n, asked, handler: told[asked_of(asked)]) as server:
        assert fast(server).summarize(texts, "few_shot", rows).rows["valid"].all()
        for asked in server.seen:
            own, words = told[asked_of(asked)], [m["content"] for m in asked["messages"]]
            assert [m["role"] for m in asked["messages"]] == ["system"] + ["user", "assistant"] * 3 + [
                "user"
            ] and not any(own in w or twin["dialogue"].iloc[0] in w for w in words[:-1])
            assert (
                words[-1].count("<대화>") == 1
                and asked_of(asked) not in "".join(words[:-1])
                and all(w in told.values() for w in words[2::2])
                and len("".join(words)) < 6000
            )
        assert not any("전혀 다른 말" in str(asked) for asked in server.seen)
    assert Neighbours(TRAIN)("#Person1#: 네", room=10) == [] and "few_shot" in needs("few_shot")


def test_cot_takes_what_stands_behind_the_marker():
    text = DEV["summaries"][0][0]
    for answer in (
        f"[생각]\n손님이 전화한다. 요약: 길게.\n\n[요약]\n{text}",
        f"**[생각]** 가나다.\n**[요약]** {text}",
        f'[생각] 가\n### 요약\n"{text}"',
        text,
    ):
        assert (
            judge_answer(answer, None, DEV["dialogue"][0], Contract(), "cot").text == text
            and not judge_answer(answer, None, DEV["dialogue"][0], Contract(), "cot").faults
        ), answer
    assert (
        "marker" in judge_answer(f"[생각] {text}", None, DEV["dialogue"][0], Contract(), "cot").faults
        and "empty" in judge_answer("[생각] 가\n[요약]", None, DEV["dialogue"][0], Contract(), "cot").faults
    )
    with serving(lambda n, asked, handler: f"[생각] 음.\n[요약] {text}") as server:
        assert (
            fast(server).summarize([DEV["dialogue"][0]], "cot").rows["text"][0] == text
            and "[생각]" in server.seen[0]["messages"][0]["content"]
        )


def test_self_consistency_takes_the_consensus_of_the_valid_ones(tmp_path):
    d, text = DEV["dialogue"][0], DEV["summaries"][0][0]
    said = {
        0: "#Person9#이 있다.",
        1: text.replace("토요일", "일요일"),
        2: text,
        3: text.replace("계산하기로", "치르기로"),
        4: "",
    }
    with serving(
        lambda n, asked, handler: (500, {}, b"") if asked["seed"] == 46 else said[asked["seed"] - 42]
    ) as server:
        done = fast(server, cache=tmp_path / "a.sqlite", retries=0).summarize(
            [d], "self_consistency", samples=5
        )
        assert (
            done.rows["text"][0] == text
            and done.rows["valid"][0]
            and sorted(a["seed"] for a in server.seen) == [42, 43, 44, 45, 46]
            and {a["temperature"] for a in server.seen} == {0.7}
        )
        server.seen.clear()
        fast(server, cache=tmp_path / "a.sqlite", retries=0).summarize([d], "self_consistency", samples=4)
        assert not server.seen  # four of the five
    assert consensus(["가나다", "가나다라", "하"]) == 0 and "2 to 20" in needs("self_consistency", samples=1)
    with pytest.raises(DialsumError, match="did you mean 'few_shot'"):
        needs("fewshot")


@pytest.mark.parametrize(
    "wrapped",
    [
        "요약: {}",
        "요약문 : {}",
        "**요약:** {}",
        "**대화 요약**\n{}",
        "## 요약\n\n{}\n",
        "“{}”",
        "'{}'",
        "- {}",
        "1. {}",
        "> {}",
        "`{}`",
        "```text\n{}\n```",
        "Summary: {}",
        "답변: {}",
        "[요약] {}",
        "【요약】 {}",
        "{}\n\n(공백 포함 64자)",
        "{} (64자)",
        "{}\n\n글자 수: 64자",
        "<think>\n길게\n</think>\n\n{}",
        "생각은 짧게.</think>{}",
        "네, 요약해 드리겠습니다.\n\n{}",
        "물론입니다! 요약은 다음과 같습니다:\n{}",
        "다음은 요약입니다: {}",
        "  {}  \r\n",
    ],
)
def test_wrapping_is_taken_off(wrapped):
    for text in (
        "#Person1#은 #Person2#에게 3월 5일의 회의를 네 시로 옮기자고 합니다. #Person2#는 그러기로 합니다.",
        "'A+'를 받은 루시는 'B'를 받은 하나를 위로한다.",
        "64자 안팎의 글을 쓰기로 한다.",
    ):
        if wrapped[0] not in text[:1]:
            assert tidy(wrapped.format(text)) == text


def test_references_keep_the_contract(shared):
    rows = read(shared / "data" / "kodialogsum" / "train.csv", summaries=True)
    told, contract = rows["summaries"].str[0], learn(rows)
    assert abs(contract.base - 35) < 2 and abs(contract.slope - 0.125) < 0.01 and contract.polite
    assert (
        sum(map(bool, (answer_faults(s, d, contract) for s, d in zip(told, rows["dialogue"])))) < 10
        and sum(tidy(s) != s for s in told) < 3
    )


def test_contracts_of_odd_rows():
    same = pd.concat([DEV.iloc[[0]]] * 30, ignore_index=True)
    assert (
        learn(DEV[:5]) == Contract()
        and learn(same).slope == 0
        and learn(same).base == len(DEV["summaries"][0][0])
    )
    assert (
        not learn(same.assign(summaries=[("회의를 한다.",)] * 30)).polite
        and Contract().length("") == 10
        and Contract().length("가" * 400) == 85
    )
    assert (
        "'-다'로" in chat_messages("가", Contract(polite=False))[0]["content"]
        and answer_faults("#1 후보가 이긴다고 합니다.", "#Person1#: #1 후보가 이기겠죠?") == {}
    )
    with serving(lambda n, asked, handler: "x") as server:
        assert fast(server).summarize([]).facts["rows"] == 0 and not server.seen


def test_rows_are_spread_and_nested():
    few, more = sample_rows(TRAIN, 10), sample_rows(TRAIN, 30)
    assert (
        len(few) == 10
        and set(few["fname"]) < set(more["fname"])
        and few.equals(
            sample_rows(TRAIN.sample(frac=1, random_state=1), 10).sort_values(
                "fname", key=lambda f: f.map({n: i for i, n in enumerate(TRAIN["fname"])}), ignore_index=True
            )
        )
    )
    quarter = pd.qcut(TRAIN["dialogue"].str.len().rank(method="first"), 4, labels=False)[
        TRAIN["fname"].isin(few["fname"])
    ]
    assert (
        quarter.value_counts().between(2, 3).all()
        and not few.equals(sample_rows(TRAIN, 10, seed=1))
        and sample_rows(DEV, 999).equals(DEV)
    )
    with pytest.raises(DialsumError, match="at least 1"):
        sample_rows(DEV, 0)


def test_only_scores_of_the_same_rows_and_scorer_are_compared(tmp_path):
    told = dict(zip(DEV["fname"], DEV["summaries"].str[0]))
    lead = dict(zip(DEV["fname"], DEV["dialogue"].str.split("\n").str[0]))
    pd.DataFrame(dict(fname=list(lead), summary=list(lead.values()))).to_csv(tmp_path / "p.csv", index=False)
    some = sample_rows(DEV, 8)
    ours, theirs = score_rows(told, some), score_rows(tmp_path / "p.csv", some)
    assert (
        (found := compare_scores(ours, theirs))["n"] == 8 == found["wins"]
        and found["low"] < found["difference"] < found["high"]
        and json.dumps(found)
        and ours["mean"]["f"] == 100
    )
    for other, words in (
        (score_rows(lead, DEV), "different rows"),
        (score_rows(lead, some, tags="whole"), "different scorers"),
        (dict(n=8, signature=ours["signature"]), "different rows"),
        (score_rows(lead, sample_rows(DEV, 8, seed=7)), "different rows"),
    ):
        with pytest.raises(DialsumError, match=words):
            compare_scores(ours, other)
    with pytest.raises(DialsumError, match="1 of 8 rows have no prediction"):
        score_rows({f: s for f, s in told.items() if f != some["fname"][0]}, some)


def test_the_client_lists_what_failed_and_keeps_refusals(tmp_path):
    def reply(n, asked, handler):
        return dict(
            long=(400, {}, dict(error="too long")),
            no=(200, {}, told("")),
            torn=(200, {}, b'{"cho'),
            nul="a\0b",
        ).get(asked["messages"][0]["content"], "fine")

    with serving(reply) as server:
        why = {}

        def ask(*questions, **more):
            return Chat(server.url, "m", retries=1, cache=tmp_path / "a.sqlite").many(
                list(questions), refused="", **more
            )

        assert ask("a", "long", "no", "torn", "b", "nul", refusals=why) == [
            "fine",
            "",
            "",
            "",
            "fine",
            "ab",
        ] and sorted(why) == [1, 2, 3]
        assert (
            isinstance(why[1], Failed)
            and not isinstance(why[2], Failed)
            and "broken JSON" in str(why[3])
            and len(server.seen) == 7
        )
        server.seen.clear()
        assert ask("a", "no", refusals=why) == ["fine", ""] and not server.seen and "empty" in str(why[1])
        assert "답이 비어 있습니다" in why[1].message("ko").what
        with pytest.raises(Refused, match="empty"):
            Chat(server.url, "m", cache=tmp_path / "a.sqlite").one("no")
        with pytest.raises(Failed, match="too long"):
            Chat(server.url, "m").many(["long", "long"], refused="")
        assert ask("a", "long") == ["fine", ""]  # heard of before


def test_a_refusal_that_an_older_version_kept_is_told_as_it_was(tmp_path):
    cache, why = tmp_path / "a.sqlite", {}
    with serving(lambda n, asked, handler: (200, {}, told(""))) as server:
        chat = Chat(server.url, "m", cache=cache)
        assert chat.many(["no"], refused="", refusals=why) == [""]
        with sqlite3.connect(cache) as db:
            db.execute("update answers set text = ?", ("\0m at h did not answer: ask `again`.",))
        assert chat.many(["no"], refused="", refusals=why) == [""] and len(server.seen) == 1
    assert str(why[0]) == "m at h did not answer: ask `again`."
    assert why[0].message("ko").what == "이전에 거절된 요청입니다: `m at h did not answer: ask 'again'.`"
