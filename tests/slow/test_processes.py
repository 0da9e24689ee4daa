"One model trained by two processes on a CPU: what one process learns, and one cause where one of them ends"

import os
import time

import psutil
import pytest
from safetensors.torch import load_file
from support.places import ROOT
from support.processes import (
    Faulty,
    count_own_weights,
    fact_of,
    fact_of_training,
    leave_what_fails_at_the_end,
    ranks_that,
    stage,
    still,
    trained,
)

from dialsum.models.processes import RankDied

LORA = dict(gradient_accumulation_steps=2, label_smoothing=0.1, lora_dropout=0.0)
WAYS = {"kobart": dict(batch_size=4), "qwen3-4b": LORA}  # of nine rows, the last update has one


@pytest.fixture(autouse=True)
def reachable(monkeypatch):
    "Another process imports what a test gives it"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))


def left_behind():  # processes of ours that train with others
    return [p for p in psutil.Process().children(recursive=True) if "be_rank" in " ".join(p.cmdline())]


def close(ours, theirs):
    assert len(ours) == len(theirs)
    return max(abs(a["loss"] - b["loss"]) for a, b in zip(ours, theirs)) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [False, True])
@pytest.mark.parametrize("name", WAYS)
def test_two_processes_learn_what_one_learns_and_write_the_same(name, fsdp, tmp_path):
    checkpoint = still(name, tmp_path)
    one, texts_of_one = trained(name, checkpoint, tmp_path / "one", 1, **WAYS[name])
    two, texts_of_two = trained(name, checkpoint, tmp_path / "two", 2, fsdp=fsdp, **WAYS[name])
    assert close(one["curve"], two["curve"]) and close(one["evaluations"], two["evaluations"])
    assert abs(one["dev_loss_before"] - two["dev_loss_before"]) < 1e-4
    assert one["steps"] == two["steps"] and texts_of_one == texts_of_two
    assert [e["rouge_mean"] for e in one["evaluations"]] == [e["rouge_mean"] for e in two["evaluations"]]
    files = [{p.name for p in (tmp_path / number / "model").iterdir()} for number in ("one", "two")]
    assert files[0] == files[1]
    assert os.environ.get("WORLD_SIZE") is None and not left_behind()


@pytest.mark.slow
def test_processes_that_write_through_other_layers_go_on_together(tmp_path):
    checkpoint, ways = still("qwen3-4b", tmp_path), dict(dev=1, num_beams=2, lora_dropout=0.0)
    one, _ = trained("qwen3-4b", checkpoint, tmp_path / "one", 1, **ways)
    two, _ = trained(
        "qwen3-4b", checkpoint, tmp_path / "two", 2, fsdp=True, **ways
    )  # one of them writes nothing
    assert close(one["curve"], two["curve"]) and close(one["evaluations"], two["evaluations"])


def weights(folder):
    [path] = folder.glob("*.safetensors")
    return load_file(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kobart", "qwen3-4b"])
def test_a_model_that_is_cut_lies_in_parts(name, tmp_path):
    checkpoint, folders = still(name, tmp_path), [tmp_path / "0", tmp_path / "1"]
    task = name, str(checkpoint), tmp_path
    with ranks_that(count_own_weights, task, tmp_path):
        whole = count_own_weights(task)
    own = [int(folder.read_text()) for folder in folders]
    assert sum(own) == whole and max(own) < 0.51 * whole


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fsdp"), [("kobart", False), ("kobart", True), ("qwen3-4b", True)])
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_another_number_of_processes_goes_on_with_the_same_curve(before, after, name, fsdp, tmp_path):
    checkpoint = still(name, tmp_path)
    options = dict(epochs=3, keep_checkpoints=1) | (dict(lora_dropout=0.0) if name != "kobart" else {})
    whole, _ = trained(name, checkpoint, tmp_path / "whole", 1, **options)

    def ends(write):  # in the evaluation after the second epoch
        return Faulty(write, "raise", 2, of_rank=0)

    with pytest.raises(ZeroDivisionError):
        trained(name, checkpoint, tmp_path / "torn", before, ends, fsdp and before > 1, **options)
    resumed, _ = trained(name, checkpoint, tmp_path / "torn", after, fsdp=fsdp and after > 1, **options)
    assert close(whole["curve"], resumed["curve"]) and close(whole["evaluations"], resumed["evaluations"])
    [epoch] = whole["kept"]
    for saved in ("model", f"epochs/{epoch}"):
        ours, theirs = weights(tmp_path / "whole" / saved), weights(tmp_path / "torn" / saved)
        assert ours.keys() == theirs.keys()
        assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "error"), [("raise", ZeroDivisionError), ("kill", RankDied)])
def test_a_process_that_ends_is_the_cause(fault, error, tmp_path):
    checkpoint = still("kobart", tmp_path)
    times = []

    def ends(write):
        times.append(time.monotonic())
        return Faulty(write, fault, 1)

    with pytest.raises(error) as e:
        trained("kobart", checkpoint, tmp_path / "torn", 2, wrap=ends)
    if fault == "kill":
        assert e.value.code == "rank_killed" and e.value.fields == dict(
            stage="train", rank=1, signal="SIGKILL"
        )
    else:
        assert "_made_faulty" not in str(e.value) and "in __call__" in str(e.value.__cause__)
    assert not left_behind() and os.environ.get("WORLD_SIZE") is None
    assert (tmp_path / "torn" / "train.rank1.log").is_file()


@pytest.mark.slow
def test_what_a_library_leaves_running_in_a_process_is_no_failure(tmp_path):
    with ranks_that(leave_what_fails_at_the_end, None, tmp_path):
        leave_what_fails_at_the_end(None)
    assert not left_behind()


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", ["false", "true"])
def test_the_stage_trains_by_two_processes_as_by_one(fsdp, tmp_path):
    checkpoint = still("kobart", tmp_path)
    facts = []
    for processes, cut in ((1, "false"), (2, fsdp)):
        run, command = stage(tmp_path, checkpoint, processes, fsdp=cut)
        assert command.wait() == 0, command.communicate()
        facts.append(fact_of_training(run)["metrics"])
    one, two = facts
    assert close(one["curve"], two["curve"]) and close(one["evaluations"], two["evaluations"])
    assert [e["rouge_mean"] for e in one["evaluations"]] == [e["rouge_mean"] for e in two["evaluations"]]


def ranks_below(pid):  # the other processes of its training
    below = psutil.Process(pid).children(recursive=True)
    return [p for p in below if "be_rank" in " ".join(p.cmdline())]


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["rank", "kernel"])
def test_a_stage_whose_process_is_killed_ends_within_half_a_minute(victim, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    run, command = stage(tmp_path, still("kobart", tmp_path), 2, epochs=200)
    checkpoints = run / "kobart" / "checkpoints"
    while not list(checkpoints.glob("*/checkpoint-*/trainer_state.json")):
        assert command.poll() is None, command.communicate()
        time.sleep(0.2)
    [other] = ranks_below(command.pid)
    kernel = other.parent()
    (other if victim == "rank" else kernel).kill()
    killed = time.monotonic()
    assert command.wait() == 1
    assert time.monotonic() - killed < 30
    error = fact_of_training(run)["error"]
    assert error["kind"] == "died"
    assert error["code"] == ("rank_killed" if victim == "rank" else "kernel_died")
    psutil.wait_procs([other, kernel], timeout=5)
    assert not other.is_running() and not kernel.is_running()
    assert not list(tmp_path.glob("dialsum-ranks-*/task"))  # rows


TIMES = ("seconds", "rows_per_second")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["evaluate", "predict", "tta"])
def test_a_stage_writes_by_two_processes_as_by_one(name, tmp_path):
    checkpoint, written = still("kobart", tmp_path), {}
    for processes in (1, 2):
        run, command = stage(tmp_path, checkpoint, processes, name, dev=5, num_beams=2)
        assert command.wait() == 0, command.communicate()
        fact = fact_of(run, name)
        files = {output: (run / output).read_bytes() for output in fact["outputs"]}
        metrics = {k: v for k, v in fact["metrics"].items() if k not in TIMES}
        written[processes] = files, metrics
        assert (run / "kobart" / f"{name}.rank1.log").is_file() == (processes == 2)
    assert written[1] == written[2]


@pytest.mark.slow
def test_a_stage_ends_where_a_process_that_writes_is_killed(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    run, command = stage(
        tmp_path, still("kobart", tmp_path), 2, "predict", dev=60, num_beams=4, min_new_tokens=90
    )
    while not (run / "kobart" / "predict.rank1.log").exists() or list(tmp_path.glob("dialsum-ranks-*/task")):
        assert command.poll() is None, command.communicate()
        time.sleep(0.1)
    [other] = ranks_below(command.pid)
    other.kill()
    killed = time.monotonic()
    assert command.wait() == 1
    assert time.monotonic() - killed < 30
    error = fact_of(run, "predict")["error"]
    assert error["kind"] == "died" and error["code"] == "rank_killed", error
    assert not list(tmp_path.glob("dialsum-ranks-*"))
