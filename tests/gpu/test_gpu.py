"""What a GPU computes as a CPU does, with replicas. Where torch sees no GPU these skip; with DIALSUM_GPU_DRY_RUN they
take the same way on a CPU, so that a slip in them shows before somebody has a GPU"""

import os
from dataclasses import replace

import pytest
import torch
from support.toys import known_rows, learned

from dialsum.checks.dry_run import rehearse
from dialsum.data.dialogues import read
from dialsum.generation.factory import engine
from dialsum.generation.predictor import Predictor
from dialsum.models.cards import card
from dialsum.models.loading import load
from dialsum.models.precision import Device, Precision, decide, this_device
from dialsum.models.prompts import Codec
from dialsum.models.replicas import replica
from dialsum.models.sizes import linear_layers
from dialsum.runs.places import sample_path
from dialsum.training.recipe import Recipe
from dialsum.training.trainer import make_trainer

DRY = bool(os.environ.get("DIALSUM_GPU_DRY_RUN"))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(DEVICE == "cpu" and not DRY, reason="torch sees no GPU"),
]


def test_this_machine_computes_on_its_gpu_and_trains_float32():
    device = this_device()
    assert device.kind == DEVICE
    for name, method in (("kobart", "full"), ("qwen3-4b", "lora"), ("qwen3-4b", "qlora")):
        p = Precision.for_this_machine(card(name), method=method)
        assert (p.device, p.trainable) == (DEVICE, "float32")
        if DEVICE == "cuda":
            assert p.amp == ("bf16" if device.bf16 else "fp16") and p.optimizer != "adamw_torch"


WISHES = [("kobart", "full"), ("qwen3-4b", "lora"), ("polyglot-ko-12.8b", "qlora")]


@pytest.mark.parametrize("wish", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(("name", "method"), WISHES)
def test_every_precision_trains_stops_goes_on_and_comes_back(name, method, wish):
    if wish == "fp16" and DEVICE == "cpu":
        pytest.skip("no fp16 on a CPU")
    if wish == "bf16" and not this_device().bf16:
        pytest.skip("no bf16 here")
    assert rehearse(card(name), "full", dict(method=method, precision=wish)) == []


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_recomputed_activations_train_as_well(method):
    assert rehearse(card("qwen3-4b"), "full", dict(method=method, gradient_checkpointing=True)) == []


def one_update(device, folder, parts=1):
    "(loss, gradient norm, adapter) after one update of plain gradient descent in float32, without dropout"
    c = card("qwen3-4b")
    rows = read(sample_path() / "train.csv", summaries=True).head(4)
    precision = replace(decide(c, "lora", Device(device, False), "replica", "fp32"), optimizer="sgd")
    loaded = load(c, str(replica(c)), **precision.loading())
    recipe = Recipe(
        method="lora",
        epochs=1,
        batch_size=len(rows) // parts,
        gradient_accumulation_steps=parts,
        learning_rate=0.1,
        warmup_ratio=0.0,
        weight_decay=0.0,
        lora_dropout=0.0,
        early_stopping_patience=0,
    )
    trainer = make_trainer(
        loaded,
        Codec(c, loaded.tokenizer),
        rows,
        rows.head(1),
        recipe,
        folder,
        precision,
        write=None,
        say=print,
        beat=lambda **facts: None,
        first=None,
    )
    trainer.args.eval_strategy = trainer.args.save_strategy = "no"
    trainer.args.load_best_model_at_end = False
    adapter = [p for _, p in sorted(trainer.model.named_parameters()) if p.requires_grad]
    chance = torch.Generator().manual_seed(0)
    for p in adapter:  # both halves of it, alike on every device
        p.data = (0.05 * torch.randn(p.shape, generator=chance)).to(p.device)
    trainer.train()
    [step] = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    return step["loss"], step["grad_norm"], torch.cat([p.detach().cpu().flatten() for p in adapter])


def test_an_update_of_an_adapter_is_that_of_a_cpu(tmp_path):
    loss, norm, adapter = one_update("cpu", tmp_path / "cpu")
    again = one_update(DEVICE, tmp_path / "gpu")
    assert again[0] == pytest.approx(loss, rel=1e-4) and again[1] == pytest.approx(norm, rel=1e-3)
    assert norm > 0 and (again[2] - adapter).abs().max() <= 1e-4


def test_gradients_are_kept_over_the_parts_of_an_update(tmp_path):
    loss, norm, adapter = one_update(DEVICE, tmp_path / "whole")
    again = one_update(DEVICE, tmp_path / "parts", parts=2)
    assert again[0] == pytest.approx(loss, rel=1e-4) and again[1] == pytest.approx(norm, rel=1e-3)
    assert (again[2] - adapter).abs().max() <= 1e-4


def logits(c, device, quantization):
    loaded = load(c, str(replica(c)), device=device, quantization=quantization)
    ids = torch.arange(5, 37, device=device)[None]
    with torch.inference_mode():
        return loaded, loaded.model(input_ids=ids).logits.float().cpu()


@pytest.mark.parametrize("name", ["qwen3-4b", "polyglot-ko-12.8b"])
def test_four_bits_are_those_of_a_cpu(name):
    c = card(name)
    loaded, quantized = logits(c, DEVICE, "nf4")
    for _, layer in linear_layers(loaded.model):
        assert type(layer).__name__ == "Linear4bit"
        assert (layer.weight.dtype, layer.weight.device.type) == (torch.uint8, DEVICE)
    _, expected = logits(c, "cpu", "nf4")
    _, whole = logits(c, DEVICE, "")
    assert (quantized - expected).norm() <= 0.02 * expected.norm()
    assert (quantized - whole).norm() > 0.02 * whole.norm()  # they are not what was not quantized


def test_summaries_are_those_that_a_replica_knows_by_heart():
    c, rows = card("kobart"), known_rows()
    loaded = load(c, str(learned("kobart")), device=DEVICE)
    codec = Codec(c, loaded.tokenizer)
    expected = [codec.text(codec.target(summaries[0])) for summaries in rows["summaries"]]
    assert Predictor(loaded, 8).predict_batch(list(rows["dialogue"])) == expected


def test_continuous_batching_writes_what_a_replica_knows_by_heart():
    c, rows = card("qwen3-4b"), known_rows().head(6)
    writer = engine("continuous", c, str(learned("qwen3-4b")), 4, loading=dict(device=DEVICE))
    expected = [writer.codec.text(writer.codec.target(summaries[0])) for summaries in rows["summaries"]]
    assert writer.predict_batch(list(rows["dialogue"])) == expected
