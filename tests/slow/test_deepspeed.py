"""One model trained by DeepSpeed's engine, by two processes on a CPU: what one process learns without it.

Nobody has run it on GPUs."""

import json
import os
from importlib.util import find_spec

import pytest
import torch
from support.places import ROOT
from support.processes import Faulty, fact_of_training, stage, still
from support.processes import trained as trained_after_others

from dialsum.runs.errors import DialsumError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("deepspeed") is None, reason="needs the package deepspeed"),
]
WAYS = {
    "kobart": dict(batch_size=2, gradient_accumulation_steps=4),  # two passes an update in each process
    "qwen3-4b": dict(gradient_accumulation_steps=2, label_smoothing=0.1, lora_dropout=0.0),
}


@pytest.fixture(autouse=True)
def reachable(monkeypatch):
    "Another process imports what a test gives it"
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


LINEAR = torch.nn.functional.linear  # torch's own, before DeepSpeed has had it


def trained(*options, **more):
    "As in a process of its own, which a stage has: there, DeepSpeed has numbered no weights and layers before"
    from deepspeed.runtime.zero.parameter_offload import DeepSpeedZeRoOffload
    from deepspeed.runtime.zero.partition_parameters import Init

    Init.param_id = 0
    DeepSpeedZeRoOffload._register_deepspeed_module.__defaults__[0][0] = 0
    return trained_after_others(*options, **more)


def zero(cut):  # from 0, nothing is cut among the processes, to 3: moments, gradients and weights are
    small_too = dict(stage3_param_persistence_threshold=0) if cut == 3 else {}  # a replica has no others
    return dict(zero_optimization=dict(stage=cut, **small_too))


def close(ours, theirs):
    assert len(ours) == len(theirs)
    return max(abs(a["loss"] - b["loss"]) for a, b in zip(ours, theirs)) < 1e-4


def same(one, two):
    "Whether two trainings learned the same"
    best = [[e["rouge_mean"] for e in happened["evaluations"]] for happened in (one, two)]
    before = abs(one["dev_loss_before"] - two["dev_loss_before"])
    curves = close(one["curve"], two["curve"]) and close(one["evaluations"], two["evaluations"])
    return curves and before < 1e-4 and one["steps"] == two["steps"] and best[0] == best[1]


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
@pytest.mark.parametrize("name", WAYS)
def test_two_processes_of_an_engine_learn_what_one_process_learns(name, cut, tmp_path):
    checkpoint, ways = still(name, tmp_path), WAYS[name] | dict(keep_checkpoints=1)
    one, texts_of_one = trained(name, checkpoint, tmp_path / "one", 1, **ways)
    two, texts_of_two = trained(name, checkpoint, tmp_path / "two", 2, deepspeed=zero(cut), **ways)
    assert same(one, two) and texts_of_one == texts_of_two
    for saved in ("model", f"epochs/{one['kept'][0]}"):
        files = [{p.name for p in (tmp_path / number / saved).iterdir()} for number in ("one", "two")]
        assert files[0] == files[1], saved
    assert two["deepspeed"] == zero(cut) and "deepspeed" not in one
    assert not {"WORLD_SIZE", "ACCELERATE_USE_DEEPSPEED"} & os.environ.keys()
    assert torch.nn.functional.linear is LINEAR


def test_one_process_of_an_engine_learns_what_it_learns_without(tmp_path):
    checkpoint = still("kobart", tmp_path)
    plain, texts_of_plain = trained("kobart", checkpoint, tmp_path / "plain", 1, **WAYS["kobart"])
    engine, texts = trained("kobart", checkpoint, tmp_path / "engine", 1, deepspeed=zero(2), **WAYS["kobart"])
    assert same(plain, engine) and texts == texts_of_plain


@pytest.mark.parametrize("cut", [2, 3])
@pytest.mark.parametrize("name", WAYS)
def test_a_training_that_was_torn_goes_on_with_the_same_curve(name, cut, tmp_path):
    checkpoint, ways = still(name, tmp_path), WAYS[name] | dict(epochs=3, deepspeed=zero(cut))
    whole, _ = trained(name, checkpoint, tmp_path / "whole", 2, **ways)

    def ends(write):  # in the evaluation after the second epoch
        return Faulty(write, "raise", 2, of_rank=0)

    with pytest.raises(ZeroDivisionError):
        trained(name, checkpoint, tmp_path / "torn", 2, ends, **ways)
    lines = []
    resumed, _ = trained(name, checkpoint, tmp_path / "torn", 2, say=lines.append, **ways)
    assert "going on from checkpoint-" in lines[0]
    assert same(whole, resumed)


def out_of_memory(write):  # in the evaluation after the first epoch
    return Faulty(write, "memory", 1, of_rank=0)


def test_out_of_memory_fewer_rows_at_once_are_tried(tmp_path):
    checkpoint, lines = still("kobart", tmp_path), []
    ways = WAYS["kobart"] | dict(deepspeed=zero(2), say=lines.append)
    with pytest.raises(DialsumError, match="out of memory with one row at once"):
        trained("kobart", checkpoint, tmp_path, 2, out_of_memory, **ways)
    assert "out of memory with 2 rows at once: again with 1 × 8" in lines


def test_out_of_memory_layers_that_are_cut_are_not_tried_again(tmp_path):
    checkpoint, lines = still("kobart", tmp_path), []
    ways = WAYS["kobart"] | dict(deepspeed=zero(3), say=lines.append)
    with pytest.raises(MemoryError, match="no memory left in one process"):
        trained("kobart", checkpoint, tmp_path, 2, out_of_memory, **ways)
    assert not [line for line in lines if "again" in line]


def test_the_stage_trains_as_its_file_says(tmp_path):
    checkpoint, file = still("kobart", tmp_path), tmp_path / "zero2.json"
    file.write_text(json.dumps(zero(2) | dict(train_batch_size="auto")), encoding="utf-8")
    facts = []
    for processes, more in ((1, {}), (2, dict(deepspeed=file))):
        run, command = stage(tmp_path, checkpoint, processes, **more)
        assert command.wait() == 0, command.communicate()
        facts.append(fact_of_training(run))
    one, two = facts
    assert same(one["metrics"], two["metrics"])
    assert two["metrics"]["deepspeed"] == zero(2) | dict(train_batch_size="auto")
    assert "<deepspeed>/zero2.json" in two["inputs"]
