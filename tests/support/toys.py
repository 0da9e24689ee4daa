"""Replicas that know a few dialogues by heart: what they write is certain by a wide margin, so that no rounding of another processor changes it; and trainings that are killed"""

import hashlib
import tempfile
from pathlib import Path

import pandas as pd
import torch
from filelock import FileLock

from dialsum.data.dialogues import read
from dialsum.models.cards import CARDS, card
from dialsum.models.loading import load
from dialsum.models.prompts import Codec, training_row
from dialsum.models.replicas import replica
from dialsum.runs.places import cache_path, sample_path

TAUGHT = [
    name for name in CARDS if name != "qwen3-14b"
]  # cards whose replicas are trained in tests: its sister, of the same architecture, stands for it
ROWS = 16  # dialogues that are known, the shortest of the sample's training rows
ENOUGH = 0.02  # mean loss of a token at which a text is known by heart


def known_rows() -> pd.DataFrame:
    "The dialogues that `learned` toys know, the shortest first"
    rows = read(sample_path() / "train.csv", summaries=True)
    shortest = rows["dialogue"].str.len().sort_values(kind="stable").index[:ROWS]
    return rows.loc[shortest].reset_index(drop=True)


def learn(loaded, rows, steps=400, learning_rate=3e-3, enough=ENOUGH):
    "Train every weight of a toy until it knows each summary; raises `AssertionError` where it does not learn them"
    codec, pad = Codec(loaded.card, loaded.tokenizer), loaded.tokenizer.pad_token_id
    made = [
        training_row(codec, dialogue, summaries[0])
        for dialogue, summaries in zip(rows["dialogue"], rows["summaries"])
    ]
    fill = dict(input_ids=pad, attention_mask=0, labels=-100)
    batch = {
        name: torch.nn.utils.rnn.pad_sequence([torch.tensor(row[name]) for row in made], True, value)
        for name, value in fill.items()
    }
    model = loaded.model.eval()  # without dropout: every step sees the same loss
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=0)
    for _ in range(steps):
        loss = model(**batch).loss
        if loss.item() < enough:
            return
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    raise AssertionError(f"{loaded.card.name}: after {steps} steps the loss is {loss.item():.3f}")


def learned(name) -> Path:
    "The checkpoint folder of a card's replica that knows `known_rows` by heart; made once and kept in the cache"
    start = replica(card(name))
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    folder = cache_path() / "learned" / f"{start.name}-{recipe}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if folder.is_dir():
            return folder
        loaded = load(card(name), str(start))
        learn(loaded, known_rows())
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            loaded.model.save_pretrained(f"{made}/model")
            loaded.tokenizer.save_pretrained(f"{made}/model")
            Path(made, "model").rename(folder)
    return folder


class Killed(Exception):
    "The machine has lost its power"


def scores(*values):
    "What evaluations say, one after the other; None: the machine loses its power"
    left = iter(values)

    def write():
        score = next(left)
        if score is None:
            raise Killed
        return dict(rouge_mean=float(score))

    return write
