"Memory by the rows at hand, by what the machine gives, and after it was not enough"

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from dialsum.models import memory_plan
from dialsum.models.cards import card
from dialsum.models.memory import estimate_memory
from dialsum.models.memory_plan import available_memory, cgroup_room, plan_memory
from dialsum.models.out_of_memory import within_memory
from dialsum.pipeline.failed_stage import record_failure
from dialsum.runs import events as events_module
from dialsum.runs.control_groups import oom_kills
from dialsum.runs.error_facts import make_error
from dialsum.runs.errors import DialsumError

OTHER = [
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUBLAS_STATUS_NOT_INITIALIZED"),
    ValueError("out of memory"),
    DialsumError("out of memory with one row at once: take a larger device."),
]


@pytest.mark.parametrize("error", OTHER, ids=lambda e: str(e)[:40])
def test_another_error_ends_the_training_at_once(error):
    tried = []

    def train(batch, accumulation):
        tried.append(batch)
        raise error

    with pytest.raises(type(error)):
        within_memory(train, 8, 1)
    assert tried == [8]


@pytest.mark.parametrize("name", ["polyglot-ko-12.8b", "solar-10.7b"])
def test_what_a_refused_model_needs_does_not_depend_on_what_there_is(name):
    figures = set()
    for available in (1, 4, 6, 7.5):
        with pytest.raises(DialsumError) as e:
            plan_memory(card(name), int(available * 2**30), 8, 1280)
        figures.add(re.search(r"needs ([\d.]+) GiB \(([\d.]+) GiB of it weights\)", str(e.value)).groups())
    assert len(figures) == 1, figures
    [(need, weights)] = figures
    assert plan_memory(card(name), int((float(need) + 0.01) * 2**30), 8, 1280).batch == 1  # so much is enough
    with pytest.raises(DialsumError):
        plan_memory(card(name), int((float(need) - 0.02) * 2**30), 8, 1280)  # and no less
    assert float(weights) == round(estimate_memory(card(name), 1, 64, method="qlora").weights / 2**30, 2)


def group(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")


def test_what_linux_has_killed_for_want_of_memory_is_counted_by_the_own_group_or_else_the_machine(tmp_path):
    self, root, machine = tmp_path / "self", tmp_path / "cgroup", tmp_path / "vmstat"
    machine.write_text("pgfault 99\noom_kill 7\n")
    self.write_text("0::/kube/pod\n")
    assert oom_kills(self, root, machine) == 7 and oom_kills(self, root, tmp_path / "none") == 0
    group(root / "kube", memory__events="oom 3\noom_kill 5")
    assert oom_kills(self, root, machine) == 5  # of a container that sees no group of its own
    group(root / "kube" / "pod", memory__events="low 0\noom 2\noom_kill 2\noom_group_kill 0")
    assert oom_kills(self, root, machine) == 2
    self.write_text("5:cpu,cpuacct:/slurm\n4:memory:/slurm/job\n0::/\n")
    control = "oom_kill_disable 0\nunder_oom 0\noom_kill 1"
    group(root / "memory" / "slurm" / "job", memory__oom_control=control)
    assert oom_kills(self, root, machine) == 1
    group(root / "memory" / "slurm" / "job", memory__oom_control="under_oom 0")  # Linux before 4.13
    assert oom_kills(self, root, machine) == 7


def test_a_control_group_limits_the_machine(tmp_path, monkeypatch):
    gb = 2**30
    self, root = tmp_path / "self", tmp_path / "cgroup"
    self.write_text("0::/kube/pod\n")
    group(
        root / "kube", memory__max=6 * gb, memory__current=2 * gb, memory__stat=f"anon 1\ninactive_file {gb}"
    )
    group(root / "kube" / "pod", memory__max="max", memory__current=gb, memory__stat="inactive_file 0")
    assert (
        cgroup_room(self, root) == 5 * gb
    )  # version 2, limited from above; what can be given back counts as free
    group(root / "kube" / "pod", memory__max=3 * gb)
    assert cgroup_room(self, root) == 2 * gb  # the smallest counts
    group(root / "kube" / "pod", memory__max=gb // 2)
    assert cgroup_room(self, root) == 0
    self.write_text("0::/kube/elsewhere\n")  # in a container whose own group is the root of what it sees
    group(root, memory__max=4 * gb, memory__current=gb, memory__stat="inactive_file 0")
    assert cgroup_room(self, root) == 3 * gb
    assert cgroup_room(tmp_path / "none", root) is None

    old = tmp_path / "v1"
    self.write_text("5:cpu,cpuacct:/slurm\n4:memory:/slurm/job\n0::/\n")
    group(
        old / "memory",
        memory__limit_in_bytes=9223372036854771712,
        memory__usage_in_bytes=8 * gb,
        memory__stat="total_inactive_file 0",
    )
    group(
        old / "memory" / "slurm" / "job",
        memory__limit_in_bytes=8 * gb,
        memory__usage_in_bytes=3 * gb,
        memory__stat=f"cache 7\ntotal_inactive_file {gb}",
    )
    assert cgroup_room(self, old) == 6 * gb

    free = available_memory("cpu")
    monkeypatch.setattr(memory_plan, "cgroup_room", lambda: 64 * 2**20)
    assert available_memory("cpu") == 64 * 2**20 < free
    monkeypatch.setattr(memory_plan, "cgroup_room", lambda: 2**62)
    assert available_memory("cpu") < 2**50  # a limit beyond what there is gives nothing


def test_an_experiment_says_so_and_no_two_of_its_stages_share_a_gpu(typed, tmp_path, monkeypatch):
    from dialsum.commands import experiments
    from dialsum.runs.events import read_events

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    threads = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, workers):
            threads.append(workers)
            super().__init__(workers)

    monkeypatch.setattr("dialsum.pipeline.executor.ThreadPoolExecutor", Pool)
    monkeypatch.setattr(experiments, "_print_outcome", lambda *args: 0)
    monkeypatch.setattr(
        "dialsum.pipeline.executor.run_attempt",
        lambda spec, *args: record_failure(
            spec, events_module.now(), 0, make_error("exception", "Stopped", text="here the test ends")
        ),
    )
    done = typed(
        "run", "--models", "kobart", "--workers", "3", "--runs", tmp_path, "--reports", tmp_path / "reports"
    )
    assert (
        threads == [1]
        and "1 at once" in done.stderr
        and "--workers 3 is more than the 1 GPU of this machine" in done.stderr
    )
    [run] = tmp_path.glob("*/experiment.json")
    assert read_events(run.parent)


def test_short_rows_are_planned_in_larger_batches():
    from dialsum.models.row_lengths import RowLengths
    from dialsum.training.recipe import Recipe, row_size

    c, short = card("qwen3-4b"), RowLengths(source=416, target=96, row=480)
    r = Recipe(method="lora", max_source=1024, max_target=256)
    assert row_size(c, r) == dict(length=1280, target=256) and row_size(c, r, short) == dict(
        length=480, target=96
    )
    assert row_size(c, r, RowLengths(2000, 300, 2200)) == dict(length=1280, target=256)  # longer rows are cut
    assert row_size(card("kobart"), Recipe(max_source=512), RowLengths(2000, 100, 2100)) == dict(
        length=512, target=100
    )
    for name, gb, batches in (
        ("llama-3.2-korean-3b", 24, (1, 4)),
        ("llama-3.2-korean-3b", 40, (2, 8)),
        ("qwen3-4b", 40, (2, 4)),
    ):
        before, now = (
            plan_memory(card(name), gb * 10**9, 8, **row_size(card(name), r, lengths))
            for lengths in (None, short)
        )
        assert (before.batch, now.batch) == batches and not before.checkpointing and not now.checkpointing
        assert before.reason.endswith("for rows of 1,280 tokens") and now.reason.endswith(
            "for rows of 480 tokens"
        )


def test_writing_is_estimated_for_the_dialogues_at_hand():
    from dialsum.checks.room import _check_writing
    from dialsum.generation.decoding import make_decoding
    from dialsum.models.row_lengths import RowLengths
    from dialsum.models.writing_memory import estimate_generation
    from dialsum.training.recipe import requested_training

    c = card("qwen3-4b")
    r, how = requested_training(c, "full", {})
    search = make_decoding(c, "full", {})
    long, short = (
        estimate_generation(
            c, 32, n, search.max_new_tokens, search.num_beams, how.weights, False, how.device
        ).total
        for n in (1024, 320)
    )
    room = (long + short) // 2
    assert _check_writing(c, r, how, search, 32, room, RowLengths(320, 64, 384)) == []
    [found] = _check_writing(c, r, how, search, 32, room, None)
    assert "1,024 tokens" in found.what
