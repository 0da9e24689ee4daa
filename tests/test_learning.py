"Does each model learn what it is shown, and end what it writes? And are there other toys than one?"

from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import pandas as pd
import pytest
import torch
from toys import TAUGHT

import dialsum.generation.writer
from dialsum.data.dialogues import read
from dialsum.generation.decoding import Decoding
from dialsum.generation.predictor import Predictor
from dialsum.korean.tags import broken_tags
from dialsum.models.cards import CARDS, card
from dialsum.models.loading import load
from dialsum.models.precision import Precision
from dialsum.models.replicas import replica
from dialsum.runs.errors import DialsumError
from dialsum.runs.places import sample_path
from dialsum.scores.rouge import rouge
from dialsum.training.fine_tuning import train
from dialsum.training.recipe import REPLICA, Recipe

MOST = 150  # tokens of a summary


def test_another_seed_is_another_replica(monkeypatch):
    c = card("kobart")
    monkeypatch.delenv("DIALSUM_REPLICA_SEED", raising=False)
    usual = replica(c)
    monkeypatch.setenv("DIALSUM_REPLICA_SEED", "0")
    assert replica(c) == usual
    monkeypatch.setenv("DIALSUM_REPLICA_SEED", "7")
    other = replica(c)
    assert other != usual
    weights, tokenizer = "model.safetensors", "tokenizer.json"
    assert (other / weights).read_bytes() != (usual / weights).read_bytes()
    assert (other / tokenizer).read_bytes() == (usual / tokenizer).read_bytes()


@pytest.mark.parametrize("seed", ["-1", "one", "1.5"])
def test_a_replica_seed_that_is_no_number_is_one_sentence(monkeypatch, seed):
    monkeypatch.setenv("DIALSUM_REPLICA_SEED", seed)
    with pytest.raises(DialsumError, match=f"DIALSUM_REPLICA_SEED is '{seed}'.*leave it unset"):
        replica(card("kobart"))


@pytest.mark.parametrize("name", CARDS)
def test_no_end_token_is_zero_or_beyond_learning(name):
    loaded = load(card(name), str(replica(card(name))))
    end, embedding, head = (
        loaded.tokenizer.eos_token_id,
        loaded.model.get_input_embeddings(),
        loaded.model.get_output_embeddings(),
    )
    assert embedding.weight[end].any() and head.weight[end].any()
    embedding(torch.tensor([end])).sum().backward()
    assert embedding.weight.grad[end].any()


def short_rows(count):
    "The rows of the sample with the shortest dialogues"
    rows = read(sample_path() / "train.csv", summaries=True)
    shortest = rows["dialogue"].str.len().sort_values().index[:count]
    return rows.loc[shortest].reset_index(drop=True)


@contextmanager
def new_ids(seq2seq):
    "The ids that are written for each dialogue while this lasts, in the order of writing"
    generate, ids = dialsum.generation.writer.Writer._generate, []

    def noting(*args):
        rows = generate(*args)
        ids.extend(
            row[1:] if seq2seq else row for row in rows
        )  # an encoder-decoder's begin with its start token
        return rows

    with patch("dialsum.generation.writer.Writer._generate", noting):
        yield ids


@dataclass
class Learned:
    "What a model wrote about the dialogues that it had learned"

    rouge1: float  # F1, 0-100
    ended: float  # share of summaries that the model ended by itself
    broken: int  # summaries with a broken tag


def learned_by_heart(name, folder, *, rows, repeats, epochs, checkpoint=""):
    "Train a replica by its default method on a few rows, load what was saved, and write about the same rows"
    c = card(name)
    usual = REPLICA["full" if c.seq2seq else "lora"]
    adapter = {} if c.method == "full" else dict(lora_dropout=0.0)
    recipe = Recipe(
        method=c.method,
        epochs=epochs,
        batch_size=4,
        learning_rate=usual["learning_rate"],
        weight_decay=0.0,
        early_stopping_patience=0,
        save_total_limit=1,
        **adapter,
    )
    precision = Precision.for_this_machine(c, "replica", wish="fp32")
    loaded = load(c, checkpoint or str(replica(c)), **precision.loading())
    train(
        loaded,
        pd.concat([rows] * repeats, ignore_index=True),
        rows,
        recipe,
        folder,
        precision,
        say=lambda line: None,
        scale="replica",
    )

    predictor = Predictor(
        load(c, str(folder / "model"), **precision.loading()), 8, decoding=Decoding(max_new_tokens=MOST)
    )
    with new_ids(c.seq2seq) as ids:
        written = predictor.predict_batch(list(rows["dialogue"]))
    end = predictor.codec.target(".")[-1]
    ended = [end in row[: MOST - 1] for row in ids]
    score = rouge(written, [s[:1] for s in rows["summaries"]], dialogues=list(rows["dialogue"]))
    broken = [bool(broken_tags(text, dialogue)) for text, dialogue in zip(written, rows["dialogue"])]
    return Learned(score.rows["score"]["rouge1"].f, sum(ended) / len(ended), sum(broken))


def check(learned):
    assert learned.rouge1 >= 95 and learned.ended >= 0.95 and not learned.broken, learned


@pytest.mark.slow
@pytest.mark.parametrize("name", TAUGHT)
def test_each_replica_learns_sixteen_dialogues_by_heart(name, tmp_path):
    check(learned_by_heart(name, tmp_path, rows=short_rows(16), repeats=10, epochs=6))


@pytest.mark.parametrize("name", ["kobart", "llama-3.2-korean-3b"])
def test_a_few_dialogues_are_learned_by_heart(name, tmp_path):
    check(learned_by_heart(name, tmp_path, rows=short_rows(4), repeats=10, epochs=6))


def without_end(loaded):
    "A model whose end token has zeros in the embedding, which is the head as well"
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight[loaded.tokenizer.eos_token_id] = 0
    return loaded


def test_an_end_token_whose_row_is_zero_is_trained(tmp_path):
    c, lines, sizes = card("llama-3.2-korean-3b"), [], []
    for loaded in (load(c, str(replica(c))), without_end(load(c, str(replica(c))))):
        recipe = Recipe(
            "lora", epochs=1, batch_size=1, lora_r=2, lora_alpha=4, learning_rate=1e-2, warmup_ratio=0.0
        )
        train(
            loaded,
            short_rows(1),
            short_rows(1),
            recipe,
            tmp_path,
            Precision.for_this_machine(c, "replica", wish="fp32"),
            say=lines.append,
            scale="replica",
        )
        again = load(c, str(tmp_path / "model"))
        trained = {n: p for n, p in again.model.named_parameters() if p.requires_grad and "lora_" not in n}
        sizes.append(sum(p.numel() for p in trained.values()))
        assert all(p.any() for p in trained.values())
    assert sizes == [0, 128] and sum("end token's row of the head is zero" in line for line in lines) == 1


@pytest.mark.slow
def test_an_end_token_whose_row_is_zero_in_the_checkpoint_is_learned_beside_the_adapter(tmp_path):
    "Checkpoints of others may have been built with their end token as padding"
    c, old = card("llama-3.2-korean-3b"), tmp_path / "old"
    loaded = without_end(load(c, str(replica(c))))
    loaded.model.save_pretrained(old)
    loaded.tokenizer.save_pretrained(old)
    check(learned_by_heart(c.name, tmp_path, rows=short_rows(2), repeats=20, epochs=5, checkpoint=str(old)))
