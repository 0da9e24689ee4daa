"Memory: estimates that add up, grow with what they should, agree with reality, and plans that fit"

import random
import sys
from dataclasses import replace

import pytest
from support.memory import tiny
from support.table import check

from dialsum.models.cards import card
from dialsum.models.measured_memory import measure_training
from dialsum.models.memory import estimate_memory
from dialsum.models.simulation_table import usual_simulations


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_an_estimate_agrees_with_reality():
    c = replace(tiny(), config=tiny().config | dict(vocab_size=50_000))
    how = dict(batch=4, length=256, weights="float32")
    estimate, measured = estimate_memory(c, device="cpu", **how).total, measure_training(c, steps=2, **how)
    assert abs(estimate / measured - 1) < 0.25


@pytest.mark.parametrize(
    ("model", "place"),
    [
        ("kobart", 0),
        ("gemma-3-270m", 1),
        ("gemma-3-270m", 2),  # an adapter in mixed precision on a CPU
        ("polyglot-ko-12.8b", 12),
        ("qwen3-4b", 14),  # four bits beside float16
        ("llama-3.2-korean-3b", -1),
    ],
)
def test_a_sample_of_what_ships_is_what_a_simulation_shows(model, place):
    usual = list(usual_simulations(card(model)))[place]
    check(card(model), usual, random.Random(place))
