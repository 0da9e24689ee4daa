"The way back of short rows in bfloat16: by two products, which come to the same as torch's own blocks"

import pytest
import torch
from support.speedups import CAUSAL, uneven
from transformers import DataCollatorForSeq2Seq

from dialsum.models import attention
from dialsum.models.attention import ATTENTION
from dialsum.models.cards import card
from dialsum.models.loading import load
from dialsum.models.precision import Device, decide
from dialsum.models.prompts import Codec
from dialsum.models.replicas import replica
from dialsum.training.agreement import TOLERANCES, deviation, first_update
from dialsum.training.batches import Examples

BLOCKS = "_scaled_dot_product_flash_attention_for_cpu_backward"


def update_of(name, implementation, checkpointing=False):
    "(what an update in bfloat16 comes to, how often a layer went back by blocks)"
    c = card(name)
    loaded = load(c, str(replica(c)), attention=implementation)
    examples = Examples(Codec(c, loaded.tokenizer), uneven(6), 64)
    collate = DataCollatorForSeq2Seq(loaded.tokenizer, model=loaded.model if c.seq2seq else None)
    passes = [collate([examples[row] for row in range(6)])]
    if checkpointing:
        loaded.model.gradient_checkpointing_enable(dict(use_reentrant=False))
    with torch.profiler.profile() as seen:
        update = first_update(
            loaded.model,
            passes,
            lambda part: loaded.model(**part).loss,
            torch.autocast("cpu", torch.bfloat16),
        )
    return update, sum(event.count for event in seen.key_averages() if BLOCKS in event.key)


@pytest.mark.parametrize("name", ["kobart", *CAUSAL])
def test_short_rows_go_back_by_products_and_teach_the_same(name):
    by_blocks, blocks = update_of(name, "sdpa")
    by_products, left = update_of(name, ATTENTION)
    assert blocks and not left
    found = deviation(by_products, by_blocks)
    assert found.within(TOLERANCES["bfloat16"]), found


def test_long_rows_go_back_by_blocks(monkeypatch):
    monkeypatch.setattr(attention, "SCORES", 1)
    _, left = update_of("qwen3-4b", ATTENTION)
    assert left


def test_activations_that_are_recomputed_teach_the_same():
    kept, _ = update_of("qwen3-4b", ATTENTION)
    recomputed, left = update_of("qwen3-4b", ATTENTION, checkpointing=True)
    assert deviation(recomputed, kept).within(TOLERANCES["bfloat16"]) and not left


def test_padding_is_not_seen():
    "A row alone, and beside a longer one"
    c = card("kobart")
    loaded = load(c, str(replica(c)), attention=ATTENTION)
    examples = Examples(Codec(c, loaded.tokenizer), uneven(6), 64)
    collate = DataCollatorForSeq2Seq(loaded.tokenizer, model=loaded.model)
    alone, beside = collate([examples[5]]), collate([examples[5], examples[0]])
    assert alone["input_ids"].shape[1] < beside["input_ids"].shape[1]
    with torch.autocast("cpu", torch.bfloat16):
        (of_one,), of_both = (loaded.model(**batch).logits for batch in (alone, beside))
    assert torch.allclose(of_one, of_both[0, : len(of_one)], atol=0.05)


@pytest.mark.parametrize(
    ("device", "wish", "expected"),
    [
        (Device("cpu", True), "", ATTENTION),
        (Device("cpu", True), "fp32", "sdpa"),
        (Device("cpu", False), "", "sdpa"),
        (Device("cuda", True), "", "sdpa"),
        (Device("cuda", False), "", "sdpa"),
    ],
)
def test_products_are_for_bfloat16_on_a_processor(device, wish, expected):
    precision = decide(card("kobart"), "full", device, wish=wish)
    assert precision.attention == expected == precision.loading()["attention"]
