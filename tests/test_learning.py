"Does each model learn what it is shown, and end what it writes? And are there other toys than one?"
import pytest

from dialsum.models import card, replica
from dialsum.runs import DialsumError


def test_another_seed_is_another_replica(monkeypatch):
    c = card('kobart')
    monkeypatch.delenv('DIALSUM_REPLICA_SEED', raising=False)
    usual = replica(c)
    monkeypatch.setenv('DIALSUM_REPLICA_SEED', '0')
    assert replica(c) == usual
    monkeypatch.setenv('DIALSUM_REPLICA_SEED', '7')
    other = replica(c)
    assert other != usual
    weights, tokenizer = 'model.safetensors', 'tokenizer.json'
    assert (other/weights).read_bytes() != (usual/weights).read_bytes()
    assert (other/tokenizer).read_bytes() == (usual/tokenizer).read_bytes()


@pytest.mark.parametrize('seed', ['-1', 'one', '1.5'])
def test_a_replica_seed_that_is_no_number_is_one_sentence(monkeypatch, seed):
    monkeypatch.setenv('DIALSUM_REPLICA_SEED', seed)
    with pytest.raises(DialsumError, match=f"DIALSUM_REPLICA_SEED is '{seed}'.*leave it unset"): replica(card('kobart'))
