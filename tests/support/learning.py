"What the tests of learning share"

from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import pandas as pd
import torch

import dialsum.generation.writer
from dialsum.data.dialogues import read
from dialsum.generation.decoding import Decoding
from dialsum.generation.predictor import Predictor
from dialsum.korean.tags import broken_tags
from dialsum.models.cards import card
from dialsum.models.loading import load
from dialsum.models.precision import Precision
from dialsum.models.replicas import replica
from dialsum.runs.places import sample_path
from dialsum.scores.rouge import rouge
from dialsum.training.fine_tuning import train
from dialsum.training.recipe import REPLICA, Recipe

MOST = 150  # tokens of a summary


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


def without_end(loaded):
    "A model whose end token has zeros in the embedding, which is the head as well"
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight[loaded.tokenizer.eos_token_id] = 0
    return loaded
