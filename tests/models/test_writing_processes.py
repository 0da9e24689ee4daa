"Two processes on a CPU that write with one model: what one process writes"

import os
import time
from dataclasses import replace
from functools import partial

import psutil
import pytest
from support.places import ROOT
from support.processes import rows

from dialsum.data.lengths import LengthRule
from dialsum.generation.decoding import Decoding
from dialsum.generation.factory import engine
from dialsum.generation.writing_processes import WritingProcesses
from dialsum.models.cards import card
from dialsum.models.processes import RankDied
from dialsum.models.ranks import process_count
from dialsum.models.replicas import replica
from dialsum.runs.errors import DialsumError

SEARCH = Decoding(max_new_tokens=12)


SHORT = 70  # tokens, which some dialogues exceed


def opened(device, batch_size=2):
    place, checkpoint = dict(device=device), str(replica(card("kobart")))
    return engine("hf", card("kobart"), checkpoint, batch_size, SHORT, SEARCH, loading=place)


def others():  # the processes that write with this one
    return [p for p in psutil.Process().children() if "be_rank" in " ".join(p.cmdline())]


def joined(folder, batch_size=3):
    "An engine that another one helps"
    one = opened("cpu")
    opening = partial(opened, batch_size=batch_size)
    one.others = WritingProcesses(opening, 2, "cpu", "predict", folder, lambda kind, error: None)
    return one


@pytest.fixture
def together(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    one = joined(tmp_path)
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
    assert sorted(together.codec.shortened) == sorted(alone.codec.shortened) != []
    drawn = dict(temperature=0.9, top_k=5)
    assert together.predict_batch(texts, **drawn) == alone.predict_batch(texts, **drawn)
    assert together.predict_batch(texts[:1]) == alone.predict_batch(texts[:1])  # one of them has nothing
    assert process_count() == 2
    together.close()
    assert process_count() == 1 and together.predict_batch(texts) == alone.predict_batch(texts)


@pytest.mark.slow
def test_what_cannot_be_followed_is_refused_before_others_hear_of_it(together):
    texts = list(rows("dev", 3)["dialogue"])
    with pytest.raises(DialsumError):
        together.predict_batch(texts, no_such_option=1)
    assert process_count() == 2 and together.predict_batch(texts) == opened("cpu").predict_batch(texts)


@pytest.mark.slow
def test_an_error_ends_all_and_the_first_goes_on_alone(together, monkeypatch):
    texts = list(rows("dev", 3)["dialogue"])
    with monkeypatch.context() as m:
        m.setattr(together, "_generate", None)  # what this process calls
        with pytest.raises(TypeError):
            together.predict_batch(texts)
    assert process_count() == 1 and together.predict_batch(texts) == opened("cpu").predict_batch(texts)


def test_one_that_is_killed_between_two_calls_is_the_cause_of_the_next(together):
    [other] = others()
    other.kill()
    while other.status() != psutil.STATUS_ZOMBIE:  # its parent has not asked how it ended
        time.sleep(0.01)
    with pytest.raises(RankDied) as e:
        together.predict_batch(list(rows("dev", 3)["dialogue"]))
    assert e.value.code == "rank_killed" and process_count() == 1


@pytest.mark.slow
def test_a_cell_that_is_run_again_ends_the_processes_of_its_first_time(together, tmp_path):
    texts, [former] = list(rows("dev", 3)["dialogue"]), others()
    again = joined(tmp_path)
    assert len(others()) == 1 and not former.is_running()
    assert again.predict_batch(texts) == together.predict_batch(texts)  # which writes alone now
    again.close()
    assert not others()
