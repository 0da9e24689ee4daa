"Precision that cannot clash, adapters that reach every layer and come back as they were"

import itertools

import pytest
import torch

from dialsum.data.dialogues import read
from dialsum.models.cards import CARDS, card
from dialsum.models.checkpoints import locate
from dialsum.models.loading import load
from dialsum.models.precision import TRAINING_METHODS, Device, Precision, decide
from dialsum.models.prompts import Codec, training_row
from dialsum.runs.errors import DialsumError
from dialsum.runs.places import sample_path
from dialsum.training.lora import add_lora, targets
from dialsum.training.recipe import Recipe
from dialsum.training.saves import save

DEVICES = [Device("cpu", False), Device("cpu", True), Device("cuda", False), Device("cuda", True)]
BLOCKS = {"llama": 7, "qwen3": 7, "gpt_neox": 4}  # linear layers of one block


def batch(loaded, rows=2):
    from transformers import DataCollatorForSeq2Seq

    sample = read(sample_path() / "dev.csv", summaries=True).head(rows)
    codec = Codec(loaded.card, loaded.tokenizer)
    return DataCollatorForSeq2Seq(loaded.tokenizer)(
        [training_row(codec, d, s[0]) for d, s in zip(sample["dialogue"], sample["summaries"])]
    )


def test_no_decision_scales_gradients_of_bf16_or_trains_halves():
    made = 0
    for c, method, device, wish in itertools.product(
        CARDS.values(), TRAINING_METHODS, DEVICES, ("", "fp32", "bf16", "fp16")
    ):
        try:
            p = decide(c, method, device, wish=wish)
        except DialsumError:
            continue
        made += 1
        arguments = p.training_arguments()
        assert p.trainable == "float32" and not (
            arguments["fp16"] and (arguments["bf16"] or p.weights == "bfloat16")
        )
        assert arguments["fp16"] is False or p.device == "cuda"
    assert made > 150


@pytest.mark.parametrize(
    "wrong",
    [
        dict(weights="bfloat16", amp="fp16"),
        dict(weights="float16", amp="fp16", trainable="float16"),
        dict(weights="bfloat16", amp="bf16", method="full"),
        dict(weights="float32", amp="no", quantization="nf4"),
        dict(weights="float16", amp="no", device="cpu"),
    ],
)
def test_a_clash_cannot_be_written_down(wrong):
    with pytest.raises(DialsumError):
        Precision(**dict(device="cuda", method="lora") | wrong)


def test_the_clash_is_real():
    "fp16's scaler over half-precision gradients, as torch refuses it"
    half = torch.nn.Parameter(torch.ones(2, dtype=torch.float16))
    half.grad = torch.ones_like(half)
    with pytest.raises(ValueError, match="unscale FP16"):
        torch.amp.GradScaler("cpu")._unscale_grads_(
            torch.optim.SGD([half]), torch.ones(1), torch.zeros(1), False
        )


@pytest.mark.parametrize("name", ["llama-3.2-korean-3b", "qwen3-4b", "solar-10.7b", "polyglot-ko-12.8b"])
@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_adapters_reach_every_layer_and_reload_to_the_same_logits(name, method, tmp_path):
    c = CARDS[name]
    how = Precision.for_this_machine(c, "replica", method)
    loaded = load(c, locate(c, "replica"), **how.loading())
    loaded.model = add_lora(loaded.model, Recipe(method=method))
    rows = batch(loaded)
    with torch.inference_mode():
        loaded.model.eval()(**rows)  # an evaluation before training must not stop gradients
    trained = [p for p in loaded.model.parameters() if p.requires_grad]
    assert len(trained) == 2 * 2 * BLOCKS[c.family] and all(p.dtype == torch.float32 for p in trained)
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    losses = []
    for _ in range(3):
        loss = loaded.model.train()(**rows).loss
        loss.backward()
        assert all(p.grad is not None for p in trained)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] and any(
        "layers.0." in n and p.abs().sum() > 0 for n, p in loaded.model.named_parameters() if "lora_B" in n
    )
    save(loaded, tmp_path / "model")
    again = load(c, str(tmp_path / "model"), **how.loading())
    with torch.inference_mode():
        assert torch.equal(loaded.model.eval()(**rows).logits, again.model(**rows).logits)
    base = load(c, locate(c, "replica"), **how.loading())
    with torch.inference_mode():
        assert not torch.equal(base.model(**rows).logits, again.model(**rows).logits)


def test_layer_names_of_another_architecture_are_refused():
    model = load(card("polyglot"), locate(card("polyglot"), "replica")).model
    with pytest.raises(DialsumError, match="'q_proj'.*dense_4h_to_h"):
        targets(model, "q_proj,query_key_value")
    assert targets(model, "query_key_value") == ["query_key_value"]


def test_bf16_is_used_where_the_cpu_has_it():
    how = decide(card("qwen3-4b"), "lora", Device("cpu", True))
    loaded = load(card("qwen3-4b"), locate(card("qwen3-4b"), "replica"), **how.loading())
    loaded.model = add_lora(loaded.model, Recipe(method="lora"))
    assert {p.dtype for p in loaded.model.parameters() if not p.requires_grad} == {torch.bfloat16} and {
        p.dtype for p in loaded.model.parameters() if p.requires_grad
    } == {torch.float32}


@pytest.mark.parametrize("device", [Device("cpu", False), Device("cpu", True), Device("cuda", True)])
def test_weights_change_in_one_pass_over_them(device):
    "AdamW that is not fused takes five times as long on a CPU"
    assert decide(card("kobart"), "full", device, "full", "").optimizer == "adamw_torch_fused"
