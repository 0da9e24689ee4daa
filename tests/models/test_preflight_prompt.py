"What is wrong with a tokenizer, a chat template or a configuration is filed where it is"

import json
import shutil

import pandas as pd
import pytest
from support.experiments import is_korean

from dialsum.checks.checkpoint import check_config
from dialsum.checks.outlook import look_ahead
from dialsum.checks.tokenizer import check_tokenizer
from dialsum.models.cards import card
from dialsum.models.loading import load_tokenizer
from dialsum.models.prompts import Codec
from dialsum.models.replicas import replica


def copied(name, folder):
    "A replica's files, to be spoiled"
    shutil.copytree(replica(card(name)), folder / "checkpoint")
    return folder / "checkpoint"


def only(found):
    [error] = [f for f in found if f.severity == "error"]
    assert is_korean(error), error
    return error


def test_a_tokenizer_that_spoils_tags_is_filed_under_its_file(tmp_path):
    folder = copied("qwen3-4b", tmp_path)
    state = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    state["normalizer"] = dict(type="Lowercase")
    (folder / "tokenizer.json").write_text(json.dumps(state, ensure_ascii=False), encoding="utf-8")
    error = only(check_tokenizer(card("qwen3-4b"), str(folder)))
    assert (
        error.where == "tokenizer.json"
        and "give tags back" in error.what
        and error.why == "every summary would have broken tags"
    )


TURNS = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
TEMPLATES = {
    "twice": (TURNS.replace("m['content']", "m['content'] + m['content']"), "each turn"),
    "refused": ("{{ raise_exception('no such role') }}", "no such role"),
    "torn": ("{% for m in messages %}", "cannot be rendered"),
    "own words": (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + ('답: ' if m['role'] == 'assistant' else '') + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
        "words of its own",
    ),
}


@pytest.mark.parametrize("kind", TEMPLATES)
def test_a_chat_template_that_is_none_is_filed_under_chat_template(kind, tmp_path):
    template, words = TEMPLATES[kind]
    folder = copied("qwen3-4b", tmp_path)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    error = only(check_tokenizer(card("qwen3-4b"), str(folder)))
    assert error.where == "chat template" and words in error.what and "positions" not in error.why


def test_a_max_source_beyond_the_positions_is_filed_under_max_source():
    error = only(check_tokenizer(card("kobart"), str(replica(card("kobart"))), max_source=4096))
    assert error.where == "max_source" and error.why == "positions beyond do not exist"


@pytest.mark.parametrize("file", ["adapter_config.json", "config.json"])
def test_a_configuration_that_is_cut_off_is_filed_under_its_own_name(file, tmp_path):
    (tmp_path / file).write_text('{"r": 16, "base_mo')
    error = only(check_config(card("qwen3-4b"), tmp_path, "lora"))
    assert error.where == file and file in error.what


@pytest.mark.parametrize(("name", "cut"), [("qwen3-4b", 1.0), ("kobart", 0.0)])
def test_dialogues_are_counted_with_the_instructions_of_their_rows(name, cut):
    c = card(name)
    codec = Codec(c, load_tokenizer(c, str(replica(c))))
    asked = "다음 대화에서 누가 무엇을 하기로 했는지만 짧게 적으세요. " * 12 + "{dialogue}"
    dialogue = "#Person1#: 안녕하세요.\n#Person2#: 안녕하세요."
    rows = pd.DataFrame(
        [
            dict(
                fname=f"r{i}",
                dialogue=dialogue,
                summaries=("#Person1#이 인사한다.",),
                topic="",
                instruction=asked,
            )
            for i in range(8)
        ]
    )
    limit = codec.length(dialogue) + 16
    assert limit < codec.length(dialogue, asked) or c.seq2seq
    outlook = look_ahead(c, "full", dict(max_source=limit), codec, dict(train=rows, dev=rows))
    assert outlook.cut["dialogues"] == cut
