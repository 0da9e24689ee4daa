"Does each model learn what it is shown, and end what it writes? And are there other toys than one?"

import pytest
import torch
from support.learning import check, learned_by_heart, short_rows, without_end
from support.toys import TAUGHT

from dialsum.models.cards import CARDS, card
from dialsum.models.loading import load
from dialsum.models.precision import Precision
from dialsum.models.replicas import replica
from dialsum.runs.errors import DialsumError
from dialsum.training.fine_tuning import train
from dialsum.training.recipe import Recipe


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


@pytest.mark.slow
@pytest.mark.parametrize("name", TAUGHT)
def test_each_replica_learns_sixteen_dialogues_by_heart(name, tmp_path):
    check(learned_by_heart(name, tmp_path, rows=short_rows(16), repeats=10, epochs=6))


@pytest.mark.parametrize("name", ["kobart", "llama-3.2-korean-3b"])
def test_a_few_dialogues_are_learned_by_heart(name, tmp_path):
    check(learned_by_heart(name, tmp_path, rows=short_rows(4), repeats=10, epochs=6))


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
