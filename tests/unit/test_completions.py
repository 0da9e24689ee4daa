"Prompts in ids, as they are, and what is written behind them: in order, asked once, told in a sentence where nothing comes"

import pytest
from support.chat import KEY, quickly, serving, written  # noqa: F401

from dialsum.endpoints.completions import Completion, Completions
from dialsum.runs.errors import DialsumError

PROMPTS = [[1, 2, 3], [4, 5], [6]]


def summed(n, asked, handler):
    return written(str(sum(asked["prompt"])), "length" if len(asked["prompt"]) > 2 else "stop")


def client(server, **options):
    return Completions(server.url, "dialsum", per_minute=10**6, **options)


def test_prompts_go_out_as_they_are_and_answers_come_back_in_order():
    with serving(summed) as server:
        answers = client(server).many([*PROMPTS, [4, 5]], max_tokens=8, top_k=-1)
    assert answers == [Completion("6", True), Completion("9", False), Completion("6", False), answers[1]]
    assert server.paths == ["/v1/completions"] * 3  # of four: two are the same question
    assert sorted(asked["prompt"] for asked in server.seen) == PROMPTS
    assert all(asked == asked | dict(model="dialsum", max_tokens=8, top_k=-1) for asked in server.seen)


def test_an_empty_text_is_an_answer_and_a_reply_without_text_is_none():
    with serving(lambda n, asked, handler: written("")) as server:
        assert client(server).many([[1]]) == [Completion("", False)]
    for choices in ([], [dict(message=dict(content="a chat"))], ["text"]):
        reply = (200, {}, dict(choices=choices))
        refused = pytest.raises(DialsumError, match="dialsum at 127.0.0.1 did not answer")
        with serving(lambda n, asked, handler, reply=reply: reply) as server, refused:
            client(server).many([[1]])


def test_a_busy_server_is_asked_again_and_one_that_refuses_ends_it():
    with serving(lambda n, asked, handler: (429, {}, b"") if n < 3 else summed(n, asked, handler)) as server:
        busy = client(server, at_once=1)
        assert [answer.text for answer in busy.many(PROMPTS)] == ["6", "9", "6"]
        assert (busy.used.requests, busy.used.retries) == (5, 2)
    words = dict(message="the prompt has 9 tokens, the model 8 positions")
    with serving(lambda n, asked, handler: (400, {}, dict(error=words))) as server:
        with pytest.raises(DialsumError, match="answered 400 .*8 positions"):
            client(server, at_once=1).many(PROMPTS)
        assert len(server.seen) < 3


def test_an_answer_is_kept_for_the_same_prompt_options_seed_and_weights(tmp_path):
    with serving(summed) as server:

        def requests(**options):
            before = len(server.seen)
            client(server, cache=tmp_path / "answers.sqlite").many(PROMPTS, **options)
            return len(server.seen) - before

        kept = dict(about="weights", seeds=[1, 2, 3], temperature=0.7)
        assert [requests(**kept), requests(**kept)] == [3, 0]
        others = (dict(about="trained again"), dict(seeds=[1, 2, 4]), dict(temperature=0.8))
        assert [requests(**kept | other) for other in others] == [3, 1, 3]


def test_the_models_of_a_server_are_known():
    with serving(summed) as server:
        client(server).check_model()  # it does not tell: the question itself will
        server.models = ["Qwen/Qwen3-4B", "dialsum"]
        client(server).check_model()
        Completions(server.url, "Qwen/Qwen3-4B:adapter").check_model()  # as SGLang names them
        with pytest.raises(DialsumError, match="no model 'dialsun': it has Qwen/Qwen3-4B, dialsum; name one"):
            Completions(server.url, "dialsun").check_model()


def test_a_dead_server_is_one_sentence():
    with serving(summed) as server:
        url = server.url
    with pytest.raises(DialsumError, match="^no server answers at http://127.0.0.1:[0-9]+/v1: start it"):
        Completions(url, "dialsum").check_model()


def test_a_key_goes_where_somebody_sends_it_and_is_told_nobody(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)  # made for others
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    cache = tmp_path / "answers.sqlite"
    assert Completions("https://llm.example.com/v1", "m").key == ""
    with serving(summed) as server:
        server.models = ["dialsum"]
        for variable, sent in (("", None), ("VLLM_API_KEY", f"Bearer {KEY}")):
            server.keys.clear()
            asker = client(server, key_variable=variable, cache=cache)
            asker.check_model()
            asker.many([[len(variable)]])
            assert server.keys == [sent, sent]
            assert KEY not in repr(asker) + str(vars(asker)) + cache.read_bytes().decode("latin-1")
    reply = (401, {}, dict(error=f"wrong: {KEY}"))
    refused = pytest.raises(DialsumError, match="VLLM_API_KEY")
    with serving(lambda n, asked, handler: reply) as server, refused as error:
        client(server, key_variable="VLLM_API_KEY").many([[1]])
    assert KEY not in str(error.value) + str(error.value.fields)
