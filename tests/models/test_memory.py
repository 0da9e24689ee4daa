"Memory: estimates that add up, grow with what they should, agree with reality, and plans that fit"

import sys
from dataclasses import replace

import pytest
from support.memory import tiny

from dialsum.models.measured_memory import measure_training
from dialsum.models.memory import estimate_memory


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_an_estimate_agrees_with_reality():
    c = replace(tiny(), config=tiny().config | dict(vocab_size=50_000))
    how = dict(batch=4, length=256, weights="float32")
    estimate, measured = estimate_memory(c, device="cpu", **how).total, measure_training(c, steps=2, **how)
    assert abs(estimate / measured - 1) < 0.25
