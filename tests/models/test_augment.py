"New dialogues keep what their summaries say, and come out the same everywhere"

import json
import shutil
import socket
from dataclasses import replace as changed

import pytest
from support.augment import DIALOGUE, SUMMARY, reworded, train  # noqa: F401

from dialsum.augment.backends import backend
from dialsum.augment.local_model import Checkpoint
from dialsum.augment.rows import augment, check_methods
from dialsum.endpoints.answers import Answers
from dialsum.models.cards import card
from dialsum.models.replicas import replica
from dialsum.runs.errors import DialsumError


def checkpoint(folder, name="qwen3-4b", without=(), **config):
    shutil.copytree(replica(card(name)), folder, ignore=shutil.ignore_patterns(*without))
    if config:
        (folder / "config.json").write_text(
            json.dumps(json.loads((folder / "config.json").read_text()) | config)
        )
    return str(folder)


def test_what_a_backend_lacks_is_known_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: pytest.fail("asked the network"))
    monkeypatch.setattr(
        "dialsum.augment.local_model.Checkpoint.model", property(lambda self: pytest.fail("read weights"))
    )
    for name in ("UPSTAGE_API_KEY", "SOLAR_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    causal, bart = checkpoint(tmp_path / "causal"), checkpoint(tmp_path / "bart", "kobart")

    def lack(method, *given):
        message = ""
        try:
            check_methods([method], 0.5, backend(*given))
        except DialsumError as e:
            message = str(e)
        assert "\n" not in message
        return message

    both = ("paraphrase", "back_translation")
    for m in both:
        assert f"{m} needs a model that writes: give augmentation_backend" in lack(
            m, ""
        ) and "UPSTAGE_API_KEY" in lack(m, "https://api.upstage.ai/v1", "solar")
        assert (
            "'./nowhere' is no folder" in lack(m, "./nowhere")
            and "'no/such-model' is no folder" in lack(m, "no/such-model")
            and lack(m, causal) == lack(m, "http://localhost:8000", "m") == ""
        )
        assert "lacks model.safetensors" in lack(
            m, checkpoint(tmp_path / f"bin {m}", without=["*.safetensors"])
        ) and "cannot be read as a checkpoint" in lack(
            m, checkpoint(tmp_path / f"odd {m}", model_type="never heard of")
        )
        assert "without a chat template" in lack(
            m, checkpoint(tmp_path / f"plain {m}", without=["chat_template.jinja"])
        ) and "works alone" in lack(m, f"{causal}, {bart}")
    assert (
        lack("paraphrase", bart) == "" == lack("back_translation", f"{bart}, {bart}")
        and "give two" in lack("back_translation", bart)
        and "translates" in lack("paraphrase", f"{bart},{bart}")
    )
    monkeypatch.setenv("SOLAR_API_KEY", "k")
    assert lack("paraphrase", "https://api.upstage.ai/v1", "solar") == ""


@pytest.mark.parametrize(
    ("names", "method"),
    [
        (["qwen3-4b"], "paraphrase"),
        (["qwen3-4b"], "back_translation"),
        (["kobart"], "paraphrase"),
        (["kobart", "kobart"], "back_translation"),
    ],
)
def test_random_checkpoints_write_noise_that_is_dropped_and_kept_in_the_cache(
    names, method, train, tmp_path, monkeypatch
):
    rows = train.head(2).assign(
        dialogue=[
            "#Person1#: 어디 가세요?\n#Person2#: 서점에요.",
            "#Person1#: 비가 와요.\n#Person2#: 우산 있어요?",
        ]
    )

    def ask(cache):
        return (
            b := backend(",".join(str(replica(card(n))) for n in names), "", cache),
            augment(rows, [method, "instruction"], 2.0, backend=b),
        )[1].attrs["augmentation"]

    facts = ask(tmp_path / "a.sqlite")
    assert (
        facts["methods"][method] == dict(made=0, left_out=0, dropped=2)
        and facts["methods"]["instruction"]["made"] == 2
        and sum(facts["reasons"][method].values()) == 2
        and facts["backend"]["written"] > 0
    )
    monkeypatch.setattr(
        "dialsum.augment.local_model.Checkpoint.model", property(lambda self: pytest.fail("the cache has it"))
    )
    again = ask(tmp_path / "a.sqlite")
    assert (
        again["reasons"] == facts["reasons"]
        and again["backend"]["written"] == 0
        and again["backend"]["cached"] == facts["backend"]["written"]
    )


@pytest.mark.parametrize("name", ["qwen3-4b", "kobart"])
def test_a_checkpoint_writes_each_text_by_its_own_seed(name, tmp_path):
    texts, folder = ["어디 가세요?", "오늘은 비가 온다고 해서 왔어요."], checkpoint(tmp_path / "here", name)

    def write(c, texts, seeds):
        return c.write("", texts, seeds, 0.7)

    c = Checkpoint(folder)
    together = write(c, texts, [1, 2])
    assert (
        together == [write(c, texts[i : i + 1], [i + 1])[0] for i in (0, 1)]
        and write(c, texts, [4, 5]) != together
        and (c.texts_written, c.cached) == (6, 0)
    )
    moved = Checkpoint(shutil.copytree(folder, tmp_path / "there"), Answers(tmp_path / "a.sqlite"))
    assert moved.identity == c.identity and write(moved, texts, [1, 2]) == together == write(
        changed(c, answers=moved.answers, texts_written=0), texts, [1, 2]
    )
    weights = bytearray((tmp_path / "there" / "model.safetensors").read_bytes())
    weights[len(weights) // 2 :] = bytes(len(weights) - len(weights) // 2)  # another model of the same shapes
    (tmp_path / "there" / "model.safetensors").write_bytes(weights)
    assert Checkpoint(tmp_path / "there").identity != c.identity


def test_a_seq2seq_model_gets_the_words_of_each_turn(train, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        Checkpoint,
        "write",
        lambda self, instruction, texts, seeds, temperature, languages: (
            seen.append((instruction, texts, seeds)) or [reworded(t).replace("45000", "5만") for t in texts]
        ),
    )
    rows = train.iloc[[0]].assign(dialogue=DIALOGUE, summaries=[(SUMMARY,)])
    made = augment(rows, ["paraphrase"], 1.0, backend=backend(checkpoint(tmp_path / "bart", "kobart")))
    lines = DIALOGUE.split("\n")
    assert seen[0][:2] == ("", [line.split(": ", 1)[1] for line in lines]) and len(set(seen[0][2])) == 3
    assert made["dialogue"].iloc[0].split("\n") == [
        reworded(lines[0]),
        lines[1],
        reworded(lines[2]),
    ]  # the turn whose number got lost stays
