"What tests of speedups share: trainings of replicas with rows of unequal length, and an attention that computes row by row on a CPU as a flash kernel does on a GPU"

from dataclasses import replace
from itertools import count, pairwise

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from dialsum.data.dialogues import read
from dialsum.models.attention import ATTENTION
from dialsum.models.cards import card
from dialsum.models.loading import load
from dialsum.models.precision import Precision
from dialsum.models.prompts import Codec
from dialsum.models.replicas import replica
from dialsum.runs.places import sample_path
from dialsum.training.fine_tuning import train
from dialsum.training.recipe import Recipe
from dialsum.training.trainer import make_trainer

CAUSAL = ["llama-3.2-korean-3b", "qwen3-4b", "gemma-3-270m", "polyglot-ko-12.8b"]  # one of each family


def by_rows(
    module, query, key, value, attention_mask, scaling=None, sliding_window=None, cu_seq_lens_q=None, **more
):
    "Causal attention within each row alone, which transformers takes for no flash kernel; query, key and value: 1×heads×tokens×width"
    edges, outputs = cu_seq_lens_q.tolist(), []
    for start, end in pairwise(edges):
        distance = torch.arange(end - start)[:, None] - torch.arange(end - start)
        seen = (distance >= 0) & (distance < (sliding_window or end))
        parts = (tensor[:, :, start:end] for tensor in (query, key, value))
        outputs.append(scaled_dot_product_attention(*parts, attn_mask=seen, scale=scaling, enable_gqa=True))
    return torch.cat(outputs, 2).transpose(1, 2).contiguous(), None


AttentionInterface.register(by_rows.__name__, by_rows)


def rows(number):
    return read(sample_path() / "train.csv", summaries=True).head(number)


def uneven(number):
    "Rows of which each has fewer turns than the one before"
    table = rows(number)
    turns = [text.split("\n")[: number - i + 1] for i, text in enumerate(table["dialogue"])]
    return table.assign(dialogue=["\n".join(lines) for lines in turns])


def without_drops(model, dropout):
    "Let a replica drop this share everywhere"
    for module in model.modules():
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = dropout
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    model.config.dropout = dropout


def fresh(name, precision, dropout=0.0):
    loaded = load(card(name), str(replica(card(name))), **precision.loading())
    without_drops(loaded.model, dropout)
    return loaded


def precision_of(name, method, amp="no", checkpointing=False):
    precision = Precision.for_this_machine(card(name), "replica", method, "fp32", checkpointing)
    if amp != "bf16":
        return replace(precision, amp=amp)
    weights = "float32" if method == "full" else "bfloat16"
    return replace(precision, amp=amp, weights=weights, attention=ATTENTION)


def trainer_of(name, folder, table, method="full", dropout=0.0, checkpointing=False):
    precision = precision_of(name, method, checkpointing=checkpointing)
    loaded = fresh(name, precision, dropout)
    recipe = Recipe(
        method, epochs=1, batch_size=len(table), lora_dropout=dropout if method != "full" else -1.0
    )
    return make_trainer(
        loaded,
        Codec(loaded.card, loaded.tokenizer),
        table,
        table.head(1),
        recipe,
        folder,
        precision,
        write=None,
        say=print,
        beat=lambda **facts: None,
        first=None,
    )


def trained(
    name,
    folder,
    stop=0,
    method="",
    dropout=0.0,
    amp="no",
    say=lambda line: None,
    checkpointing=False,
    **more,
):
    "Three updates an epoch in two epochs, by the card's method; interrupted at the end of epoch `stop`"
    method = method or card(name).method
    precision = precision_of(name, method, amp, checkpointing)
    loaded = fresh(name, precision, dropout)
    numbers = count(1)
    recipe = Recipe(
        method,
        epochs=2,
        batch_size=2,
        learning_rate=3e-3,
        lora_dropout=dropout if method != "full" else -1.0,
        early_stopping_patience=0,
    )

    def write():
        if next(numbers) == stop:
            raise KeyboardInterrupt
        return dict(rouge_mean=1.0)

    table = uneven(6)
    write.about = "numbers"
    return train(
        loaded, table, table.head(2), recipe, folder, precision, write, say=say, scale="replica", **more
    )


def curve_of(happened):
    return [point["loss"] for point in happened["curve"]]


def patched_compile(monkeypatch, compile):
    "Let torch compile a function by another one"
    monkeypatch.setattr(torch, "compile", lambda call, **options: compile(call))
