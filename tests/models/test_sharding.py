"""One process of several that share a cut model: what it computes in an update, and what it keeps of a checkpoint.

Its exchanges with the others are those of torch's `fake` backend: they take place, and bring nothing that is meant."""

import math

import pytest
import torch
from support.processes import rows
from torch import distributed
from torch.distributed.tensor.debug import CommDebugMode
from torch.testing._internal.distributed.fake_pg import FakeStore

from dialsum.models.cards import card
from dialsum.models.loading import load
from dialsum.models.precision import Precision
from dialsum.models.prompts import Codec
from dialsum.models.ranks import process_count, rank
from dialsum.models.replicas import replica
from dialsum.training.recipe import Recipe
from dialsum.training.sharding import full_moments, shard
from dialsum.training.trainer import make_trainer


@pytest.fixture
def become():
    "A function that makes this process one of several, by its rank and their number"

    def be(number, count):
        leave()
        distributed.init_process_group("fake", rank=number, world_size=count, store=FakeStore())
        assert (rank(), process_count()) == (number, count)

    def leave():
        if distributed.is_initialized():
            distributed.destroy_process_group()

    yield be
    leave()


@pytest.fixture(scope="module")
def learned():
    "Rows of one line, but for one that is much longer: what has it takes more passes than what has not"
    few = rows("train", 21)
    lines = [dialogue.split("\n")[0] for dialogue in few["dialogue"]]
    return few.assign(dialogue=["가나다 " * 100, *lines[1:]])


def passes_of(recipe, learned, folder):
    "How many rows each pass of each update of an epoch has, in a process with a part of the model"
    loaded = load(card("kobart"), str(replica(card("kobart"))))
    trainer = make_trainer(
        loaded,
        Codec(loaded.card, loaded.tokenizer),
        learned,
        learned.head(1),
        recipe,
        folder,
        Precision.for_this_machine(loaded.card, "replica", recipe.method, "fp32"),
        write=None,
        say=lambda line: None,
        beat=lambda **facts: None,
        first=None,
        fsdp=True,
    )
    return [
        [len(part["input_ids"]) for part in update["passes"]] for update in trainer.get_train_dataloader()
    ]


@pytest.mark.parametrize(("accumulation", "count"), [(3, 2), (1, 2), (5, 4)])
def test_each_process_of_a_cut_model_makes_as_many_passes_and_none_that_is_too_large(
    accumulation, count, learned, become, tmp_path
):
    recipe, updates = Recipe(batch_size=4, gradient_accumulation_steps=accumulation), []
    for number in range(count):
        become(number, count)
        updates.append(passes_of(recipe, learned, tmp_path))
    in_step = list(zip(*updates, strict=True))
    assert len(in_step) == math.ceil(len(learned) / (4 * accumulation))
    for processes in in_step:
        assert len({len(passes) for passes in processes}) == 1, processes
        assert max(map(max, processes)) <= recipe.batch_size, processes


def test_the_first_process_alone_keeps_whole_moments(become):
    kept, exchanges = [], []
    for number in range(2):
        become(number, 2)
        model = torch.nn.Linear(6, 4)
        shard(model, "cpu")
        optimizer = torch.optim.AdamW(model.parameters())
        for weight in model.parameters():
            weight.grad = torch.ones_like(weight)
        optimizer.step()
        with CommDebugMode() as counted:
            moments = full_moments(optimizer.state_dict())["state"]
        exchanges.append(counted.get_total_counts())
        kept.append({name: tuple(value.shape) for name, value in values_of(moments)})
    whole = {"0.step": (), "0.exp_avg": (4, 6), "0.exp_avg_sq": (4, 6)}
    whole |= {"1.step": (), "1.exp_avg": (4,), "1.exp_avg_sq": (4,)}
    assert kept == [whole, {}]
    assert exchanges == [4, 4]  # each takes part, of two weights with two moments each


def values_of(moments):
    return [(f"{number}.{name}", moment[name]) for number, moment in moments.items() for name in moment]
