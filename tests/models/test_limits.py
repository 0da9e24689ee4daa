"What ends, and what goes on, when time, memory or a folder is taken"

import functools

import pytest
import torch
from support.toys import known_rows, learned

from dialsum.data.dialogues import read
from dialsum.generation.decoding import Decoding
from dialsum.generation.predictor import Predictor
from dialsum.models.cards import card
from dialsum.models.loading import load, load_tokenizer
from dialsum.models.precision import Precision
from dialsum.models.prompts import Codec
from dialsum.models.replicas import replica
from dialsum.models.row_lengths import longest_rows
from dialsum.runs.errors import DialsumError
from dialsum.runs.places import sample_path
from dialsum.training import trainer
from dialsum.training.fine_tuning import train
from dialsum.training.recipe import make_recipe


@pytest.fixture
def small_memory(monkeypatch):
    """Room for four rows at once, in training for as many tokens as four of the longest have:
    KoBART with more asks the allocator for what no machine has"""
    from transformers import BartForConditionalGeneration

    learned("kobart")  # with all the room that there is, where no other test has trained it yet
    forward, c = BartForConditionalGeneration.forward, card("kobart")
    rows = read(sample_path() / "train.csv", summaries=True).head(32)
    room = 4 * longest_rows(Codec(c, load_tokenizer(c, str(replica(c)))), rows).source

    @functools.wraps(forward)
    def limited(self, *args, **kwargs):
        given = [v for v in kwargs.values() if isinstance(v, torch.Tensor) and v.ndim]
        too_much = kwargs["input_ids"].numel() > room if self.training else max(map(len, given)) > 4
        if too_much:
            torch.empty(2**50)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(BartForConditionalGeneration, "forward", limited)
    monkeypatch.setattr(trainer, "PASS", 10**6)  # as few passes as memory allows


def test_out_of_memory_the_batch_is_halved_and_the_update_stays(small_memory, tmp_path, capsys):
    rows, c = read(sample_path() / "train.csv", summaries=True).head(32), card("kobart")

    def ask(folder, **how):
        return train(
            load(c, str(replica(c))),
            rows,
            rows.head(2),
            make_recipe(c, "replica", dict(epochs=1, seed=7) | how),
            tmp_path / folder,
            Precision.for_this_machine(c, "replica"),
            say=print,
        )

    happened = ask("asked", batch_size=16, gradient_accumulation_steps=2)
    assert (
        happened["recipe"]["batch_size"],
        happened["recipe"]["gradient_accumulation_steps"],
        happened["steps"],
    ) == (4, 8, 1)
    assert capsys.readouterr().out.count("out of memory") == 2
    given = ask("given", batch_size=4, gradient_accumulation_steps=8)
    assert (
        happened["curve"] == given["curve"]
    )  # as if it had been asked for so: nothing of the failed attempts is left in the weights


def test_what_is_kept_beside_the_best_survives_out_of_memory_and_a_kill(small_memory, tmp_path):
    class Killed(Exception):
        pass

    def scores(*values):  # of the epochs, one after the other; None: the machine lost its power
        left = iter(values)

        def write():
            score = next(left)
            if score is None:
                raise Killed
            return dict(rouge_mean=score)

        return write

    rows, c = read(sample_path() / "train.csv", summaries=True).head(16), card("kobart")

    def go(write):
        return train(
            load(c, str(replica(c))),
            rows,
            rows.head(2),
            make_recipe(c, "replica", dict(epochs=3, batch_size=8, keep_checkpoints=1)),
            tmp_path,
            Precision.for_this_machine(c, "replica"),
            write,
            say=lambda line: None,
        )

    with pytest.raises(Killed):
        go(scores(1.0, 2.0, None))
    happened = go(
        scores(3.0)
    )  # fails with eight rows once more, and goes on with four after the second epoch
    assert (
        happened["recipe"]["batch_size"] == 4
        and happened["best"]["epoch"] == 3
        and happened["kept"] == ["epoch2"]
        and [p.name for p in (tmp_path / "epochs").iterdir()] == ["epoch2"]
    )


def test_out_of_memory_with_a_single_row_is_one_sentence(monkeypatch, tmp_path):
    from transformers import BartForConditionalGeneration

    rows, c, forward = (
        read(sample_path() / "train.csv", summaries=True).head(8),
        card("kobart"),
        BartForConditionalGeneration.forward,
    )
    monkeypatch.setattr(
        BartForConditionalGeneration,
        "forward",
        functools.wraps(forward)(lambda self, *args, **kwargs: torch.empty(2**50)),
    )
    with pytest.raises(DialsumError, match="out of memory with one row at once"):
        train(
            load(c, str(replica(c))),
            rows,
            rows.head(2),
            make_recipe(c, "replica", dict(epochs=1, batch_size=4)),
            tmp_path,
            Precision.for_this_machine(c, "replica"),
            say=lambda line: None,
        )


def test_out_of_memory_writing_goes_on_with_fewer_at_once(small_memory, capsys):
    texts, c = list(known_rows()["dialogue"]), card("kobart")
    predictor, small = (
        Predictor(load(c, str(learned("kobart"))), n, decoding=Decoding(max_new_tokens=8)) for n in (16, 4)
    )
    assert predictor.predict_batch(texts) == small.predict_batch(texts)
    assert predictor.batch_size == 4 and capsys.readouterr().out.splitlines() == [
        f"out of memory: {n} dialogues at once from here on" for n in (8, 4)
    ]
