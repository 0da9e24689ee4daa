"Cards, sizes, tags: against the figures that were measured on the real models and tokenizers"

import json

import pytest

from dialsum.data.dialogues import read
from dialsum.korean.tags import TAG
from dialsum.models.cards import CARDS, card
from dialsum.models.checkpoints import locate
from dialsum.models.loading import load_tokenizer
from dialsum.models.prompts import Codec, training_row
from dialsum.runs.errors import DialsumError

SIZES = {
    "kobart": (123_859_968, None),
    "llama-3.2-korean-3b": (3_212_749_824, 24_313_856),
    "qwen3-4b": (4_022_468_096, 33_030_144),
    "solar-10.7b": (10_731_524_096, 62_914_560),
    "polyglot-ko-12.8b": (12_893_603_840, 52_428_800),
    "kullm-v2": (12_893_603_840, 52_428_800),
    "gemma-3-270m": (268_098_176, 3_796_992),
    "qwen3-14b": (14_768_307_200, 64_225_280),
}


def test_models_json_is_the_contract(typed):
    done = typed("models", "--json")
    rows = json.loads(done.stdout)
    assert (
        done.returncode == 0
        and [set(r) for r in rows]
        == [{"name", "aliases", "checkpoint", "family", "parameters", "lora_r16"}] * 8
    )
    assert {r["name"]: (r["parameters"], r["lora_r16"]) for r in rows} == SIZES


@pytest.mark.parametrize(
    "spelling",
    ["SOLAR 10.7B", "solar_10.7b", "solar-10.7b", " Solar-10.7B", "upstage/SOLAR-10.7B-Instruct-v1.0"],
)
def test_spellings_are_one(spelling):
    assert card(spelling).name == "solar-10.7b"


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(DialsumError, match="did you mean 'qwen3-4b'"):
        card("qwen-4b")


def test_weights_that_are_nowhere_are_one_sentence_soon(call, checkout):
    before = sorted((checkout / "runs").iterdir())
    done = call(
        "papermill",
        "nbs/train.ipynb",
        "out.ipynb",
        "-p",
        "model",
        "qwen3-4b",
        "--no-progress-bar",
        timeout=1200,
    )
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("DialsumError: qwen3-4b: the weights of") and "-p scale replica" in last
    assert sorted((checkout / "runs").iterdir()) == before


@pytest.mark.parametrize("name", CARDS)
def test_replicas_know_every_text(name):
    tokenizer = load_tokenizer(CARDS[name], locate(CARDS[name], "replica"))
    for text in (
        "#Person1#은 #PhoneNumber#로 전화한다.",
        "뷁쀍 漢字 ñ 😀",
        "한 줄\n두 줄",
        "ㅋㅋ ㅠㅠ 두  칸",
    ):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.unk_token_id not in ids
        if name != "kobart" or "ㅋ" not in text:
            assert tokenizer.decode(ids, skip_special_tokens=True) == text  # KoBART normalizes lone jamo


@pytest.mark.parametrize("name", CARDS)
def test_only_the_answer_is_learned_and_its_end_with_it(name):
    codec = Codec(CARDS[name], load_tokenizer(CARDS[name], locate(CARDS[name], "replica")))
    row = training_row(codec, "#Person1#: 안녕.\n#Person2#: 응.", "#Person1#과 #Person2#가 인사한다.")
    learned = [i for i in row["labels"] if i >= 0]
    assert (
        codec.text(learned) == "#Person1#과 #Person2#가 인사한다."
        and learned[-1] == codec.tokenizer.eos_token_id
    )
    if not CARDS[name].seq2seq:
        assert row["input_ids"][: -len(learned)] == codec.source("#Person1#: 안녕.\n#Person2#: 응.")


@pytest.mark.parametrize(("name", "folder"), [("kobart", "kobart"), ("qwen3-4b", "qwen3")])
def test_tags_survive_the_real_tokenizers_byte_for_byte(name, folder, shared):
    codec = Codec(card(name), load_tokenizer(card(name), str(shared / "tokenizers" / folder)))
    rows = read(shared / "data" / "kodialogsum" / "dev.csv", summaries=True)
    texts = [s[0] for s in rows["summaries"]] + [
        "#Person1#은 #Person2# , #Email#로",
        "#CarNumber#를#Person3#에게",
    ]
    for text in texts:
        written = codec.text(codec.target(text))
        assert TAG.findall(written) == TAG.findall(text) and written == " ".join(text.split())


def test_the_real_chat_templates_open_as_they_train(shared):
    qwen = Codec(card("qwen3-4b"), load_tokenizer(card("qwen3-4b"), str(shared / "tokenizers" / "qwen3")))
    llama = Codec(card("llama"), load_tokenizer(card("llama"), locate(card("llama"), "replica")))
    llama.tokenizer.chat_template = (
        shared / "tokenizers" / "llama3.2-bllossom" / "chat_template.jinja"
    ).read_text(encoding="utf-8")
    for codec, end in ((qwen, "<|im_end|>"), (llama, "<|eot_id|>")):
        target = codec.target("#Person1#은 웃는다.")
        assert codec.tokenizer.decode(target) == "#Person1#은 웃는다." + end
        assert codec.render("안녕", "응").startswith(codec.render("안녕"))
    assert "26 Jul 2024" in llama.render("안녕")  # the date would make each day's prompt another one


def test_our_templates_are_the_real_ones(shared):
    real = load_tokenizer(card("qwen3-4b"), str(shared / "tokenizers" / "qwen3"))
    ours = Codec(card("qwen3-4b"), load_tokenizer(card("qwen3-4b"), locate(card("qwen3-4b"), "replica")))
    assert ours.render("안녕", "응") == Codec(card("qwen3-4b"), real).render("안녕", "응")
