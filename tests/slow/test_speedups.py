"Layers that are really compiled: they learn what uncompiled ones learn, and leave nothing behind"

import shutil

import pytest
import torch
from support.speedups import curve_of, trained

from dialsum.models.cards import card
from dialsum.models.loading import load

COMPILER = next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not COMPILER, reason="torch.compile needs a C++ compiler on a CPU, and there is none"),
]

WAYS = {
    "kobart": {},
    "qwen3-4b": dict(checkpointing=True),
    "gemma-3-270m": {},
}


@pytest.fixture(autouse=True)
def forgotten():
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("name", WAYS)
def test_compiled_layers_learn_the_same(name, tmp_path):
    plain = trained(name, tmp_path / "plain", **WAYS[name])
    compiled = trained(name, tmp_path / "compiled", speedups="compile", **WAYS[name])
    [record] = compiled["speedups"]
    assert record["active"], record
    assert 0 < record["gradient_deviation"] <= record["gradient_tolerance"]
    assert curve_of(compiled) == pytest.approx(curve_of(plain), rel=1e-3)
    losses = [[e["loss"] for e in happened["evaluations"]] for happened in (plain, compiled)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_what_is_saved_and_gone_on_with_has_its_ordinary_names(tmp_path):
    plain = trained("kobart", tmp_path / "plain")
    with pytest.raises(KeyboardInterrupt):
        trained("kobart", tmp_path / "torn", stop=2, speedups="compile")
    resumed = trained("kobart", tmp_path / "torn", speedups="compile")
    assert resumed["speedups"][0]["active"]
    assert curve_of(resumed) == pytest.approx(curve_of(plain), rel=1e-3)
    models = [load(card("kobart"), str(tmp_path / folder / "model")).model for folder in ("plain", "torn")]
    ours, theirs = (dict(model.named_parameters()) for model in models)
    assert ours.keys() == theirs.keys()
    largest = max(float((ours[name] - theirs[name]).detach().abs().max()) for name in ours)
    assert 0 < largest < 0.01


def test_four_bits_are_compiled_or_left(tmp_path):
    happened = trained("qwen3-4b", tmp_path, method="qlora", speedups="compile")
    [record] = happened["speedups"]
    assert record["active"] or record["code"] in ("speedup_failed", "speedup_differs"), record
