"RMS norms that keep less for the way back: what they teach, what they keep, and when they are used"

from contextlib import nullcontext

import pytest
import torch
from support.speedups import CAUSAL, curve_of, trained, uneven
from transformers import DataCollatorForSeq2Seq

from dialsum.models.cards import card
from dialsum.models.loading import load
from dialsum.models.norms import lean_norms, rms_norms
from dialsum.models.prompts import Codec
from dialsum.models.replicas import replica
from dialsum.training.agreement import TOLERANCES, deviation, first_update
from dialsum.training.batches import Examples
from dialsum.training.trainer import _DialsumTrainer

NORMED = [name for name in CAUSAL if name != "polyglot-ko-12.8b"]  # whose norms are RMS norms


def update_of(name, is_lean, arithmetic, checkpointing=False):
    "(what an update comes to, bytes that are kept for the way back); all weights learn"
    c = card(name)
    loaded = load(c, str(replica(c)))
    examples = Examples(Codec(c, loaded.tokenizer), uneven(6), 64)
    passes = [DataCollatorForSeq2Seq(loaded.tokenizer)([examples[row] for row in range(6)])]
    norms = rms_norms(loaded.model)
    assert norms
    if checkpointing:
        loaded.model.gradient_checkpointing_enable(dict(use_reentrant=False))
    weights, kept = {p.untyped_storage().data_ptr() for p in loaded.model.parameters()}, {}

    def noted(states):
        storage = states.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[id(storage)] = states, storage.nbytes()  # alive, so that no place is taken twice
        return states

    def loss_of(part):
        with torch.autograd.graph.saved_tensors_hooks(noted, lambda states: states):
            return loaded.model(**part).loss

    with lean_norms(norms) if is_lean else nullcontext():
        update = first_update(
            loaded.model, passes, loss_of, torch.autocast("cpu", torch.bfloat16, arithmetic)
        )
    storages = {states.untyped_storage().data_ptr(): size for states, size in kept.values()}
    return update, sum(storages.values())


@pytest.mark.parametrize(("half", "tolerance"), [(True, "bfloat16"), (False, "float32")])
@pytest.mark.parametrize("name", NORMED)
def test_they_teach_the_same_and_keep_less(name, half, tolerance):
    usual, usually_kept = update_of(name, False, half)
    lean, kept = update_of(name, True, half)
    assert deviation(lean, usual).within(TOLERANCES[tolerance]), deviation(lean, usual)
    assert kept < usually_kept


def test_what_is_computed_again_teaches_the_same():
    usual, _ = update_of("qwen3-4b", False, True)
    again, _ = update_of("qwen3-4b", True, True, checkpointing=True)
    assert deviation(again, usual).within(TOLERANCES["bfloat16"])


def ways_back(folder, **how):
    "How often a training goes back through a norm of ours, and its curve"
    with torch.profiler.profile() as seen:
        happened = trained("qwen3-4b", folder, **how)
    return sum(event.count for event in seen.key_averages() if event.key == "RmsNormBackward"), happened


def test_a_training_on_a_processor_uses_them(tmp_path, monkeypatch):
    count, happened = ways_back(tmp_path / "lean", method="lora")
    assert count
    monkeypatch.setattr(_DialsumTrainer, "_lean_norms", lambda self, speedups: nullcontext())
    none, usual = ways_back(tmp_path / "usual", method="lora")
    assert not none
    assert curve_of(happened) == pytest.approx(curve_of(usual), rel=1e-3)


def test_afterwards_the_model_is_as_before():
    c = card("qwen3-4b")
    model = load(c, str(replica(c))).model
    norms = rms_norms(model)
    norms[0].forward = forward = norms[0].forward  # somebody else's
    with pytest.raises(ZeroDivisionError), lean_norms(norms):
        raise ZeroDivisionError
    assert [m for m in model.modules() if "forward" in vars(m)] == norms[:1] and norms[0].forward is forward
