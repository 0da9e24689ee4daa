"Under mixed precision an adapter multiplies what it is given as it comes"

from contextlib import nullcontext

import pytest
import torch
from support.speedups import curve_of, trained

from dialsum.training.trainer import _DialsumTrainer


def learned_in_bfloat16(folder, **how):
    "(the losses of a curve, dtypes of what adapters were given while they learned)"
    from peft.tuners.lora import LoraLayer

    seen, forward = set(), torch.nn.Linear.forward

    def watched(layer, states):
        if layer in adapters and torch.is_grad_enabled():
            seen.add(states.dtype)
        return forward(layer, states)

    adapters = set()
    update = LoraLayer.update_layer

    def noted(layer, *args, **options):
        update(layer, *args, **options)
        adapters.update(layer.lora_A.values())

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(LoraLayer, "update_layer", noted)
        patched.setattr(torch.nn.Linear, "forward", watched)
        happened = trained("qwen3-4b", folder, method="lora", amp="bf16", **how)
    return curve_of(happened), seen


@pytest.mark.parametrize("checkpointing", [False, True])
def test_mixed_precision_makes_no_copies_for_adapters_and_teaches_the_same(
    checkpointing, tmp_path, monkeypatch
):
    curve, dtypes = learned_in_bfloat16(tmp_path / "as it comes", checkpointing=checkpointing)
    assert dtypes == {torch.bfloat16}
    monkeypatch.setattr(_DialsumTrainer, "_adapter_as_it_comes", lambda self: nullcontext())
    usual_curve, usual_dtypes = learned_in_bfloat16(tmp_path / "cast", checkpointing=checkpointing)
    assert usual_dtypes == {torch.float32}
    assert curve == usual_curve


def test_what_is_dropped_is_scaled_in_float32(tmp_path):
    _, dtypes = learned_in_bfloat16(tmp_path, dropout=0.05)
    assert dtypes == {torch.float32}
