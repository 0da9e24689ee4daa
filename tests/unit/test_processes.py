"Several processes for one model: their shares, their memory, their GPUs, and which error is the cause"

import math
import pickle
import time
from types import SimpleNamespace

import pytest

from dialsum.checks.options import check_options
from dialsum.cli import _arguments
from dialsum.commands.experiments import _at_once
from dialsum.commands.request import new_request
from dialsum.commands.resumption import _changes
from dialsum.models import processes
from dialsum.models.cards import card
from dialsum.models.memory import estimate_memory
from dialsum.models.processes import RankDied, RankOutOfMemory, _cause_of_end, _Failure, _note_failure
from dialsum.pipeline.devices import at_once, check_gpus
from dialsum.pipeline.execution import error_kind
from dialsum.pipeline.placement import Room
from dialsum.runs.errors import DialsumError
from dialsum.training.batches import UpdateCollator, UpdateSampler, even_batches, share_of_update
from dialsum.training.recipe import Recipe, check_share, memory_needed, plan_training


def arguments(*words):
    return _arguments([*words, "--models", "kobart", "--scale", "replica"])


def size(row):
    return row, 1


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_the_shares_of_an_update_are_its_rows(count, processes):
    rows = [*range(10, 10 + count)]
    shares = [share_of_update(rows, size, rank, processes) for rank in range(processes)]
    assert sorted(row for share in shares for row in share) == rows
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


class Rows:
    size = staticmethod(size)

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, row):
        return dict(input_ids=[row] * 3, attention_mask=[1] * 3, labels=[-100, 7, 8])

    def longest(self):
        return self.count - 1


def test_processes_see_the_updates_that_one_process_sees():
    alone = [*UpdateSampler(Rows(29), 4, seed=1)]
    pairs = zip(*(UpdateSampler(Rows(29), 4, 1, rank, 2) for rank in range(2)), strict=True)
    assert [sorted(a + b) for a, b in pairs] == [sorted(update) for update in alone]
    assert len(UpdateSampler(Rows(29), 4, 1, 1, 2)) == len(alone)


def test_a_process_without_a_row_learns_nothing_of_another_one():
    collate = UpdateCollator(lambda batch: batch, (9, 9), Rows(3))
    assert collate([]) == dict(passes=[[dict(input_ids=[0] * 3, attention_mask=[1] * 3, labels=[-100] * 3)]])
    assert collate([Rows(3)[1]])["passes"][0][0]["labels"] == [-100, 7, 8]


@pytest.mark.parametrize(("batch", "accumulation", "processes"), [(8, 1, 8), (2, 3, 3), (3, 2, 2), (1, 4, 4)])
def test_an_update_that_divides_is_shared(batch, accumulation, processes):
    check_share(Recipe(batch_size=batch, gradient_accumulation_steps=accumulation), processes)


@pytest.mark.parametrize(
    ("batch", "accumulation", "processes", "fitting"), [(8, 1, 3, 2), (2, 1, 4, 2), (3, 3, 2, 1)]
)
def test_an_update_that_does_not_is_refused(batch, accumulation, processes, fitting):
    options = dict(batch_size=batch, gradient_accumulation_steps=accumulation, processes=processes)
    findings = check_options(card("kobart"), "replica", options)
    assert [(f.code, f.fields["fitting"]) for f in findings] == [("update_not_divisible", fitting)]
    assert f"--processes {fitting}" in findings[0].remedy


class Precision32:
    device, weights, amp, gradient_checkpointing, optimizer = "cpu", "float32", "no", False, "adamw_torch"


def test_memory_is_that_of_one_process_and_its_share():
    def needed(batch, processes, accumulation=1):
        r = Recipe(batch_size=batch, gradient_accumulation_steps=accumulation, max_source=64, max_target=16)
        return memory_needed(card("kobart"), r, Precision32, processes=processes)

    assert needed(8, 4) == needed(2, 1, accumulation=2)  # gradients stay in both
    assert needed(8, 4).total < needed(8, 2).total
    assert needed(8, 2).weights == needed(8, 1).weights and needed(8, 2).optimizer == needed(8, 1).optimizer


def test_gradients_stay_where_processes_exchange_them():
    def total(**more):
        return estimate_memory(card("kobart"), 1, 64, 16, "cpu", **more).total

    assert total(processes=2) == total(accumulation=2) > total()


def test_a_model_that_is_cut_takes_each_process_its_part():
    def needed(method="full", processes=2, **more):
        r = Recipe(method=method, batch_size=8, max_source=64, max_target=16)
        name = "kobart" if method == "full" else "qwen3-4b"
        return memory_needed(card(name), r, Precision32, processes=processes, **more)

    whole, part = needed(), needed(fsdp=True)
    assert part.optimizer * 2 == whole.optimizer and part.total < whole.total
    assert needed(processes=8, fsdp=True).total < part.total
    adapted, cut = needed("lora"), needed("lora", fsdp=True)
    assert (cut.adapter, cut.optimizer) == (adapted.adapter, adapted.optimizer)
    assert adapted.weights < cut.weights < 1.6 * adapted.weights  # whole while it writes, beside its part


def test_what_was_chosen_before_can_still_be_refused(tmp_path):
    def planned(**more):
        return plan_training(
            card("qwen3-4b"), "full", more, available=7 * 2**30, choice_file=tmp_path / "plan.json"
        )

    assert planned().recipe.method == "qlora"
    with pytest.raises(DialsumError) as e:
        planned(processes=2, fsdp=True)
    assert e.value.code == "fsdp_with_qlora"


@pytest.mark.parametrize("rows_of_share", [0, 1, 5, 6, 7, 8])
def test_processes_that_share_a_model_make_the_same_passes(rows_of_share):
    examples = [
        dict(input_ids=[1] * n, attention_mask=[1] * n, labels=[n]) for n in range(1, rows_of_share + 1)
    ]
    filler = dict(input_ids=[9], attention_mask=[1], labels=[9])
    passes = even_batches(examples, 3, filler)
    learned = [example["labels"][0] for batch in passes for example in batch if example["labels"] != [-100]]
    assert len(passes) == 3 and all(passes) and sorted(learned) == list(range(1, rows_of_share + 1))
    assert max(map(len, passes)) <= max(1, math.ceil(rows_of_share / 3))


@pytest.mark.parametrize(
    ("options", "code"),
    [(dict(fsdp=True), "fsdp_alone"), (dict(fsdp=True, processes=2, method="qlora"), "fsdp_with_qlora")],
)
def test_what_cannot_be_cut_is_refused(options, code):
    assert code in [f.code for f in check_options(card("qwen3-4b"), "full", options)]
    with pytest.raises(DialsumError) as e:
        plan_training(card("qwen3-4b"), "full", options)
    assert e.value.code == code


def test_a_model_that_is_cut_is_not_quantized_where_memory_is_short():
    def planned(**more):
        options = dict(processes=2, **more)
        return plan_training(card("qwen3-4b"), "full", options, available=7 * 2**30, lengths=None)

    assert planned().recipe.method == "qlora"
    with pytest.raises(DialsumError) as e:
        planned(fsdp=True)
    assert e.value.code.startswith("model_does_not_fit")


def test_each_process_of_a_stage_has_a_gpu():
    room = Room(2, dict.fromkeys(("0", "2", "5", "7"), 0))
    for own in (("0", "2"), ("5", "7")):
        room.shares.append(room.place(gpus=2))
        assert room.shares[-1].devices == own
    assert Room(1, {"0": 0, "2": 0}).place(gpus=9).devices == ("0", "2")


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    check_gpus(2)
    with pytest.raises(DialsumError) as e:
        new_request(arguments("run", "--processes", "4"))
    assert e.value.code == "more_processes_than_gpus" and e.value.fields == dict(processes=4, gpus=2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    check_gpus(3)  # of a CPU


@pytest.mark.parametrize("words", [["export", "--to", "sh"], ["run", "--on", "ray:auto"]])
def test_the_gpus_of_this_machine_are_not_asked_about_others(words, monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    args = arguments(*words, "--processes", "4", "--reports", str(tmp_path))
    request = new_request(args)
    assert request.options["processes"] == 4 and _at_once(args, request.options) == (0, "")


def test_how_many_go_at_once_is_of_the_machine_where_they_do(monkeypatch):
    options = dict(workers=0, scale="full")  # of an experiment that began on GPUs
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    args = arguments("resume", "mine")
    assert _at_once(args, options) == (1, "") and "workers" not in _changes(args, "full")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert _at_once(args, options) == (0, "")
    assert _changes(arguments("resume", "mine", "--workers", "auto"), "full")["workers"] == 0


def test_models_of_several_processes_wait_for_their_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    count, reason = at_once(4, "full", processes=2)
    assert count == 2 and "2 a model" in reason
    assert at_once(2, "full", processes=2) == (2, "")


def failure(seconds, error):
    return _Failure(seconds, error, "")


PEER = RuntimeError("Connection closed by peer")


@pytest.mark.parametrize(
    ("codes", "failures", "before", "cause"),
    [
        ({1: 1, 2: 1}, {1: failure(5, PEER), 2: failure(4, KeyError("row"))}, 6, "KeyError"),
        ({1: 1, 2: -9}, {1: failure(5, PEER)}, 6, "RankDied"),
        ({1: 3}, {}, 6, "RankDied"),
        ({1: 1}, {1: failure(7, PEER)}, 6, "NoneType"),  # the first process failed before
        ({}, {}, 6, "NoneType"),
    ],
)
def test_what_came_first_is_the_cause(codes, failures, before, cause):
    assert type(_cause_of_end("train", codes, failures, before)).__name__ == cause


@pytest.mark.parametrize(
    ("codes", "no_memory", "code"),
    [
        ({1: -9}, True, "rank_out_of_memory"),
        ({1: -9}, False, "rank_killed"),
        ({1: -11}, True, "rank_killed"),  # it crashed; another one was killed
    ],
)
def test_a_process_that_linux_kills_for_want_of_memory_is_told_from_one_that_somebody_kills(
    codes, no_memory, code, monkeypatch, tmp_path
):
    counted = iter([3, 4 if no_memory else 3])
    monkeypatch.setattr(processes, "oom_kills", lambda: next(counted))
    others = processes._Others(tmp_path, "train")
    others.processes = {
        number: SimpleNamespace(poll=lambda code=ended: code) for number, ended in codes.items()
    }
    error = others.cause()
    assert error.code == code
    assert error_kind(type(error).__name__) == ("memory" if code == "rank_out_of_memory" else "died")


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (RankOutOfMemory("rank_out_of_memory", stage="train", rank=1), ("memory", "rank_out_of_memory")),
        (RankDied("rank_killed", stage="train", rank=1, signal="SIGKILL"), ("died", "rank_failed")),
    ],
)
def test_a_process_that_has_to_be_ended_tells_of_what_kind_the_cause_was(cause, told):
    group, failures = processes.Processes.__new__(processes.Processes), []
    group.others = SimpleNamespace(stage="train")
    group.fail = lambda kind, error: failures.append((kind, error.code))
    group._fail_for(cause)
    assert failures == [told]


class Unportable(Exception):
    def __reduce__(self):
        raise TypeError("not to be copied")


def test_an_error_comes_from_another_process_with_its_traceback(tmp_path):
    before = time.time()
    for name, error in (
        ("1", RankDied("rank_exited", stage="train", rank=1, exit_code=3)),
        ("2", Unportable("of a library")),
    ):
        try:
            raise error
        except Exception as e:
            _note_failure(tmp_path / f"{name}.failure", e)
    ours, foreign = (pickle.loads((tmp_path / f"{n}.failure").read_bytes()) for n in "12")
    assert ours.error.code == "rank_exited" and "raise error" in ours.text and ours.seconds >= before
    assert str(foreign.error) == "Unportable: of a library"
