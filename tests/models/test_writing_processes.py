"Two processes on a CPU that write with one model: what one process writes"

import os
from dataclasses import replace
from functools import partial

import pytest
from support.places import ROOT
from support.processes import rows

from dialsum.data.lengths import LengthRule
from dialsum.generation.decoding import Decoding
from dialsum.generation.factory import engine
from dialsum.generation.writing_processes import WritingProcesses
from dialsum.models.cards import card
from dialsum.models.ranks import process_count
from dialsum.models.replicas import replica
from dialsum.runs.errors import DialsumError

SEARCH = Decoding(max_new_tokens=12)


def opened(device, batch_size=2):
    place = dict(device=device)
    return engine("hf", card("kobart"), str(replica(card("kobart"))), batch_size, 0, SEARCH, loading=place)


@pytest.fixture
def together(tmp_path, monkeypatch):
    "An engine that another one helps"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    one = opened("cpu")
    one.others = WritingProcesses(
        partial(opened, batch_size=3), 2, "cpu", "predict", tmp_path, lambda *_: None
    )
    yield one
    one.close()


def test_two_write_what_one_writes_however_it_is_told_to(together):
    texts, alone = list(rows("dev", 7)["dialogue"]), opened("cpu")
    for change in (
        {},
        dict(decoding=replace(SEARCH, max_new_tokens=20)),
        dict(lengths=LengthRule(0.0, 2.0, -0.1, 0.1)),
        dict(batch_size=4),
    ):
        vars(together).update(change)
        vars(alone).update(change)
        assert together.predict_batch(texts) == alone.predict_batch(texts), change
        assert together.reached == alone.reached
    drawn = dict(temperature=0.9, top_k=5)
    assert together.predict_batch(texts, **drawn) == alone.predict_batch(texts, **drawn)
    assert together.predict_batch(texts[:1]) == alone.predict_batch(texts[:1])  # one of them has nothing
    assert process_count() == 2
    together.close()
    assert process_count() == 1 and together.predict_batch(texts) == alone.predict_batch(texts)


def test_what_cannot_be_followed_is_refused_before_others_hear_of_it(together):
    texts = list(rows("dev", 3)["dialogue"])
    with pytest.raises(DialsumError):
        together.predict_batch(texts, no_such_option=1)
    assert process_count() == 2 and together.predict_batch(texts) == opened("cpu").predict_batch(texts)


def test_an_error_ends_all_and_the_first_goes_on_alone(together, monkeypatch):
    texts = list(rows("dev", 3)["dialogue"])
    with monkeypatch.context() as m:
        m.setattr(together, "_generate", None)  # what this process calls
        with pytest.raises(TypeError):
            together.predict_batch(texts)
    assert process_count() == 1 and together.predict_batch(texts) == opened("cpu").predict_batch(texts)
