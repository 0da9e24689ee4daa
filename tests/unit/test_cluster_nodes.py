"Nodes of a cluster: looked at before they get a stage, told once where they differ; what is asked of Ray for a stage"

import os
import platform
import sys
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from dialsum.cli import main
from dialsum.commands.execution_places import on_cluster
from dialsum.pipeline import ray_executor
from dialsum.pipeline.done import Reason
from dialsum.pipeline.executor import Task
from dialsum.pipeline.plan import plan_stages
from dialsum.pipeline.ray_executor import RayExecutor, check_nodes
from dialsum.pipeline.spec import StageSpec
from dialsum.runs.errors import DialsumError
from dialsum.runs.events import EVENTS, read_events
from dialsum.runs.folders import new_run

GIB = 2**30
ALIKE = dict(
    alike=dict(torch="2.13.0"), unseen=[], unwritable={}, gpus=0, gpu_memory=[], free_gib={"/data": 50.0}
)
OTHER = dict(ALIKE, alike=dict(torch="2.12.0"))
BLIND = dict(ALIKE, unseen=["/data/runs/mine"])
BARRED = dict(ALIKE, unwritable={"/data/runs/mine": "Permission denied"})
FULL = dict(ALIKE, free_gib={"/data": 50.0, "/scratch": 0.4})


class Gone(Exception):
    "Whatever this cluster raises"


class Silent(Gone):
    "There is no answer in time"


class Raised(Gone):
    "What a task itself has raised, with its traceback"


WITHOUT_DIALSUM = Raised(
    """ray::_look_around() (pid=7, ip=10.0.0.7)
RuntimeError: The remote function failed to import on the worker. This may be because needed library …:

Traceback (most recent call last):
  File "function_manager.py", line 314, in fetch_and_register_remote_function
    function = pickle.loads(serialized_function)
ModuleNotFoundError: No module named 'dialsum'
"""
)


class Reference:
    "What is to come of a task"

    def __init__(self, node=""):
        self.node, self.ending = node, Future()

    def future(self):
        return self.ending


class Cluster:
    "Ray as far as an executor calls it: nodes come, answer and go as a test says"

    def __init__(self):
        self.living, self.answers, self.cancelled, self.submitted = {}, {}, [], []
        self.once, self.options_of_task, self.calls, self.obedient = {}, {}, [], set()
        self.exceptions = SimpleNamespace(RayError=Gone, GetTimeoutError=Silent, RayTaskError=Raised)

    def join(self, name, answer=None, cpus=1, **more):
        resources = dict(CPU=cpus, **more)
        address = dict(NodeManagerHostname=name, NodeManagerAddress="10.0.0.7")
        self.living[name] = dict(NodeID=name, Alive=True, Resources=resources, **address)
        if answer:
            self.answers[name] = answer

    def nodes(self):
        return [*self.living.values()]

    def remote(self, work=None, **once):
        self.once = once
        return self if work else lambda work: self

    def options(self, scheduling_strategy="", **more):
        if scheduling_strategy:
            return SimpleNamespace(remote=lambda runs: Reference(scheduling_strategy))
        self.submitted.append(more["label_selector"])
        self.options_of_task = self.once | more
        return SimpleNamespace(remote=self.begin)

    def begin(self, *arguments):
        self.arguments = arguments
        return Reference()

    def wait(self, references, num_returns=1, timeout=None):
        ready = [r for r in references if r.node in self.answers or r.ending.done()]
        self.calls.append(("wait", len(references), num_returns, timeout))
        return ready, [r for r in references if r not in ready]

    def get(self, reference, timeout):
        answer = self.answers.get(reference.node, Silent())
        if isinstance(answer, Gone):
            raise answer
        return answer

    def cancel(self, reference, force=False):
        self.cancelled.append(reference)
        self.calls.append(("cancel", reference, force))
        if reference in self.obedient:
            reference.ending.set_exception(Gone())

    def shutdown(self):
        self.calls.append("shutdown")


@pytest.fixture
def cluster(monkeypatch):
    cluster = Cluster()
    cluster.join("first", ALIKE)
    monkeypatch.setattr(ray_executor, "import_ray", lambda: cluster)
    monkeypatch.setattr(ray_executor, "_connect", lambda address: False)
    monkeypatch.setattr(ray_executor, "_look_around", lambda runs: ALIKE)
    monkeypatch.setattr(ray_executor, "_on_node", lambda node_id: node_id, raising=False)
    monkeypatch.setattr(ray_executor, "LOOK_SECONDS", 0, raising=False)
    return cluster


@pytest.fixture
def executor(cluster):
    said = []
    executor = RayExecutor([], say=said.append)
    executor.said = said
    return executor


def task(tmp_path, stage="data"):
    return Task(StageSpec(tmp_path, stage))


def test_a_node_that_joins_gets_a_stage_when_it_has_answered(cluster, executor):
    cluster.join("second")
    assert executor.has_room(cpus=1) and executor.total["CPU"] == 1
    cluster.answers["second"] = ALIKE
    assert executor.has_room(cpus=1) and executor.total["CPU"] == 2 and not executor.said


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (OTHER, "torch 2.12.0 instead of 2.13.0"),
        (BLIND, "does not see the run folder '/data/runs/mine'"),
        (BARRED, "cannot write to the run folder '/data/runs/mine' (Permission denied)"),
        (FULL, "0.4 GiB free at '/scratch', and at least 1 GiB"),
        (WITHOUT_DIALSUM, "could not be looked at: ModuleNotFoundError: No module named 'dialsum':"),
        (
            Gone("The worker died unexpectedly.\n\nRead the log."),
            "looked at: The worker died unexpectedly: put",
        ),
    ],
)
def test_a_node_that_joins_and_differs_is_told_once_and_gets_nothing(
    cluster, executor, tmp_path, answer, reason
):
    cluster.join("second", answer)
    for _ in range(3):
        assert executor.has_room(cpus=1) and executor.total["CPU"] == 1
    [line] = executor.said
    assert "second (10.0.0.7" in line and reason in line and "\n" not in line
    executor.submit(task(tmp_path), cpus=1)
    assert cluster.submitted == [{"ray.io/node-id": "in(first)"}]


def test_a_node_that_joins_and_is_silent_is_told_once(cluster, executor, monkeypatch):
    monkeypatch.setattr(ray_executor, "PROBE_SECONDS", 0)
    cluster.join("second")
    for _ in range(3):
        assert executor.has_room(cpus=1) and executor.total["CPU"] == 1
    assert len(executor.said) == 1 and "has not answered" in executor.said[0]


def test_a_node_that_goes_before_it_has_answered_is_not_told(cluster, executor, monkeypatch):
    cluster.join("second")
    executor.has_room(cpus=1)
    del cluster.living["second"]
    cluster.answers["second"] = OTHER
    executor.has_room(cpus=1)
    assert not executor.said and executor.total["CPU"] == 1


def test_tasks_run_on_nodes_that_passed(cluster, executor, tmp_path):
    cluster.join("second", ALIKE)
    executor.has_room(cpus=1)
    executor.submit(task(tmp_path), cpus=1)
    assert cluster.submitted == [{"ray.io/node-id": "in(first,second)"}]


def test_a_task_that_only_a_new_node_can_run_waits_for_its_answer(cluster, executor, tmp_path, monkeypatch):
    cluster.join("large", cpus=8)
    executor.has_room(cpus=8)
    wait = cluster.wait
    looks = []

    def answered_at_third(references, timeout):
        looks.append(1)
        if len(looks) == 3:
            cluster.answers["large"] = ALIKE
        return wait(references, timeout)

    monkeypatch.setattr(cluster, "wait", answered_at_third)
    executor.submit(task(tmp_path), cpus=8)
    assert cluster.submitted == [{"ray.io/node-id": "in(large)"}]


def test_a_task_that_no_node_can_run_is_refused_when_all_have_answered(cluster, executor, tmp_path):
    cluster.join("large", OTHER, cpus=8)
    executor.has_room(cpus=8)
    with pytest.raises(DialsumError, match="no node of the cluster"):
        executor.submit(task(tmp_path), cpus=8)
    assert len(executor.said) == 1


def test_a_task_whose_nodes_are_all_gone_does_not_wait_for_ever(cluster, executor, tmp_path):
    executor.submit(task(tmp_path), cpus=1)
    cluster.join("second", ALIKE)
    executor.has_room(cpus=1)
    assert not cluster.cancelled
    del cluster.living["first"]
    assert executor.has_room(cpus=0)
    assert len(cluster.cancelled) == 1


def test_a_node_that_differs_at_the_start_refuses_the_experiment(cluster):
    cluster.join("second", OTHER)
    with pytest.raises(DialsumError, match=r"torch 2\.12\.0 instead of 2\.13\.0"):
        RayExecutor([])


def with_gpus(*sizes):  # an answer; sizes: GiB, 0 where nobody tells
    return dict(ALIKE, gpus=len(sizes), gpu_memory=[size * GIB for size in sizes])


@pytest.mark.parametrize("answer", [WITHOUT_DIALSUM, BARRED, FULL, with_gpus(24)])
def test_a_node_that_must_not_get_a_stage_refuses_the_experiment(cluster, answer):
    cluster.join("second", answer, GPU=2)
    with pytest.raises(DialsumError, match=r"second \(10\.0\.0\.7, second\)"):
        RayExecutor([])


def test_a_node_that_sees_fewer_gpus_than_ray_counts_is_told_with_both_numbers(cluster):
    cluster.join("second", with_gpus(24), GPU=2)
    with pytest.raises(DialsumError) as e:
        RayExecutor([])
    assert e.value.code == "node_short_of_gpus" and "sees 1 GPU, and Ray counts 2 there" in str(e.value)
    cluster.join("second", with_gpus(24, 24), GPU=2)
    assert RayExecutor([]).total["GPU"] == 2


def test_a_node_looks_at_the_run_folder_its_gpus_and_its_disks(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    run, elsewhere = new_run("mine", {}, tmp_path), tmp_path / "elsewhere"
    before = sorted(run.iterdir())
    answer = ray_executor._look_around([run, elsewhere])
    assert answer["unseen"] == [str(elsewhere)] and answer["unwritable"] == {} and answer["gpus"] == 2
    assert (
        len(answer["gpu_memory"]) == 2 and answer["free_gib"][str(run)] > 0 and len(answer["free_gib"]) == 2
    )
    assert sorted(run.iterdir()) == before and not elsewhere.exists()
    check_nodes({"this": dict(answer, unseen=[], free_gib={})}, answer, {"this": 2})
    monkeypatch.setattr(ray_executor, "_unwritable", lambda folders: {str(f): "full" for f in folders})
    assert ray_executor._look_around([run, elsewhere])["unwritable"] == {str(run): "full"}


def test_a_folder_in_which_a_node_cannot_write_is_named_with_the_reason(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if os.geteuid() == 0:  # who may write everywhere but where the kernel itself refuses
        closed = Path("/sys")
    assert ray_executor._unwritable([tmp_path, closed]).keys() == {str(closed)}
    assert ray_executor._unwritable([closed])[str(closed)] in ("Permission denied", "Read-only file system")


@pytest.mark.parametrize(
    ("visible", "file", "counted"), [("", False, None), ("0,1", False, 2), (None, True, None)]
)
def test_a_node_that_cannot_count_its_gpus_is_believed(visible, file, counted, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(ray_executor, "may_have_gpu", lambda: file)
    monkeypatch.setattr(ray_executor, "gpus", lambda: visible.split(",") if visible else [])
    assert ray_executor._counted_gpus() == counted


@pytest.mark.parametrize(
    ("size", "nodes"),
    [
        (0, "card,large,small"),
        (20, "card,large,small"),
        (60, "card,large"),
        (119, "card"),
        (24, "card,large,small"),
    ],
)
def test_a_stage_goes_where_the_gpus_are_large_enough(cluster, executor, tmp_path, size, nodes):
    for name, gib in (("small", 24), ("large", 80), ("card", 0)):
        cluster.join(name, with_gpus(gib), GPU=1)
    executor.has_room(cpus=1)
    executor.submit(task(tmp_path), gpus=1, gpu_memory=size * GIB)
    assert cluster.submitted == [{"ray.io/node-id": f"in({nodes})"}]


def test_a_stage_that_is_too_large_for_each_gpu_goes_to_the_largest(cluster, executor, tmp_path):
    cluster.join("small", with_gpus(24), GPU=1)
    cluster.join("mixed", with_gpus(80, 24), GPU=2)  # Ray may give it the small one
    cluster.join("large", with_gpus(48), GPU=1)
    cluster.join("other", with_gpus(47.5), GPU=1)  # of one kind
    executor.has_room(cpus=1)
    executor.submit(task(tmp_path), gpus=1, gpu_memory=119 * GIB)
    executor.submit(task(tmp_path), cpus=1, gpu_memory=119 * GIB)  # without a GPU
    assert [where["ray.io/node-id"] for where in cluster.submitted] == [
        "in(large,other)",
        "in(first,large,mixed,other,small)",
    ]


def test_what_is_kept_to_a_large_gpu_waits_without_taking_the_place_of_others(cluster, executor, tmp_path):
    cluster.join("small", with_gpus(24), GPU=1)
    cluster.join("large", with_gpus(80), GPU=1)
    large, small = (dict(gpus=1, gpu_memory=gib * GIB) for gib in (60, 10))
    assert executor.has_room(**large)
    executor.submit(task(tmp_path), **large)
    assert not executor.has_room(**large) and executor.has_room(**small)
    executor.submit(task(tmp_path), **small)
    assert not executor.has_room(**small)


def test_a_task_whose_only_able_node_is_gone_does_not_wait_for_ever(cluster, executor, tmp_path):
    cluster.join("large", ALIKE, cpus=8)
    executor.has_room(cpus=8)
    executor.submit(task(tmp_path), cpus=8)
    del cluster.living["large"]
    assert not executor.has_room(cpus=8) and len(cluster.cancelled) == 1  # though the first one lives


def test_ray_is_asked_to_try_a_task_once_with_what_it_needs(cluster, executor, tmp_path):
    cluster.join("large", with_gpus(80, 80), cpus=8, GPU=2, memory=64 * GIB)
    executor.has_room(cpus=1)
    once = dict(max_retries=0, retry_exceptions=False, max_calls=1, name="data")
    executor.submit(task(tmp_path), cpus=4, gpus=2, memory=32 * GIB, gpu_memory=40 * GIB)
    of_large = dict(num_cpus=4, num_gpus=2, memory=32 * GIB, label_selector={"ray.io/node-id": "in(large)"})
    assert cluster.options_of_task == once | of_large
    assert cluster.arguments == (task(tmp_path), platform.node(), 4, True)
    executor.submit(task(tmp_path))
    anywhere = {"ray.io/node-id": "in(first,large)"}
    assert cluster.options_of_task == once | dict(
        num_cpus=1, num_gpus=0, memory=None, label_selector=anywhere
    )
    assert cluster.arguments == (task(tmp_path), platform.node(), 1, False)


@pytest.mark.parametrize(("needs_gpu", "devices"), [(False, ""), (True, "7")])
@pytest.mark.parametrize("driver", ["elsewhere", platform.node()])
def test_a_worker_sees_gpus_only_if_it_needs_one_and_writes_its_own_events(
    tmp_path, monkeypatch, needs_gpu, devices, driver
):
    def run_attempt(spec, threads, timeout, reason):
        seen.update(spec=spec, threads=threads, timeout=timeout, reason=reason)
        seen.update(devices=os.environ["CUDA_VISIBLE_DEVICES"], events=os.environ[EVENTS])
        return SimpleNamespace(status="success")

    seen = {}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.setenv(EVENTS, "events.jsonl")
    monkeypatch.setattr(ray_executor, "run_attempt", run_attempt)
    spec, reason = StageSpec(tmp_path, "data"), Reason("machine_lost")
    assert ray_executor._work(Task(spec, reason, 9.0), driver, 3, needs_gpu) == "success"
    own = "events.jsonl" if driver == platform.node() else ray_executor.events_file_of(platform.node())
    assert seen == dict(spec=spec, threads=3, timeout=9.0, reason=reason, devices=devices, events=own)


@pytest.mark.parametrize("is_ours", [False, True])
def test_stages_are_asked_to_end_and_then_ended(cluster, executor, tmp_path, is_ours):
    ended, obedient, stubborn = (executor.submit(task(tmp_path), cpus=1) for _ in range(3))
    ended.set_result("success")
    first, second = executor.tasks[obedient], executor.tasks[stubborn]
    cluster.obedient, cluster.calls, executor.is_ours = {first}, [], is_ours
    executor.stop()
    asked = [("cancel", first, False), ("cancel", second, False), ("wait", 2, 2, executor.grace)]
    forced = [("cancel", second, True), ("wait", 1, 1, executor.grace)]
    assert cluster.calls == asked + forced + ["shutdown"] * is_ours


def test_nobody_is_waited_for_where_all_have_ended(cluster, executor, tmp_path):
    executor.submit(task(tmp_path), cpus=1).set_result("success")
    cluster.calls = []
    executor.stop()
    assert cluster.calls == []


@pytest.mark.parametrize(
    ("kind", "arguments", "is_lost"),
    [
        ("NodeDiedError", ["the node is unreachable"], True),
        ("WorkerCrashedError", [], True),
        ("LocalRayletDiedError", [], True),
        ("ObjectLostError", ["00ff", None, ""], True),
        ("RaySystemError", [OSError("the raylet is gone")], True),
        ("TaskCancelledError", [], True),
        ("TaskUnschedulableError", ["its nodes are gone"], True),
        ("OutOfMemoryError", ["the node was low on memory"], False),
        ("RayTaskError", ["work", "Traceback …", ValueError("no column"), "ray::work", 7, "10.0.0.7"], False),
    ],
)
def test_what_ray_says_of_a_lost_machine_is_told_from_a_failure(kind, arguments, is_lost):
    ray = pytest.importorskip("ray", reason="pip install 'dialsum[ray]'")
    error = getattr(ray.exceptions, kind)(*arguments)
    assert RayExecutor.lost(SimpleNamespace(ray=ray), error) is is_lost
    assert not RayExecutor.lost(SimpleNamespace(ray=ray), ValueError("no column"))


def test_a_stage_whose_needs_no_node_meets_is_refused_with_what_the_largest_has(
    cluster, tmp_path, monkeypatch
):
    monkeypatch.setattr(ray_executor, "_connect", lambda address: True)
    cluster.join("small", with_gpus(24), cpus=16, GPU=1, memory=16 * GIB)
    cluster.join("large", with_gpus(24, 24), cpus=8, GPU=2, memory=64 * GIB)
    run = new_run("mine", {}, tmp_path)
    plan = partial(plan_stages, run, ["kobart"], test=False)
    with pytest.raises(DialsumError) as e:
        on_cluster(run, plan(dict(scale="replica", processes=4)))
    assert e.value.code == "no_node_has" and e.value.fields["largest"] == "2 GPU, 64 GiB of memory, 8 CPU"
    assert cluster.calls == ["shutdown"]
    assert "needs (4 GPU, 16 GiB of memory, 1 CPU); the largest has 2 GPU, 64 GiB" in str(e.value)
    executor, resources = on_cluster(run, plan(dict(scale="replica", processes=2)))
    assert resources["kobart/train"]["gpus"] == 2 and resources["data"]["gpus"] == 0
    assert executor.total["GPU"] == 3


@pytest.fixture
def words(tmp_path):  # of a small experiment on a cluster
    folders = ["--runs", str(tmp_path / "runs"), "--reports", str(tmp_path / "reports")]
    return ["--scale", "replica", *folders, "--on", "ray:10.0.0.7:6379"]


def test_without_ray_nothing_is_made_and_one_sentence_tells_it(monkeypatch, tmp_path, words, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["run", *words]) == 2
    assert capsys.readouterr().err == (
        "dialsum: Ray is not installed: pip install 'dialsum[ray]', or leave `--on ray` out.\n"
    )
    assert not (tmp_path / "runs").exists()
    assert main(["preflight", *words]) == 1 and "Ray is not installed" in capsys.readouterr().out


def test_nodes_that_are_refused_are_an_event_of_the_run_that_can_go_on(cluster, tmp_path, words, capsys):
    cluster.join("second", OTHER)
    assert main(["run", *words]) == 2
    [run] = (tmp_path / "runs").iterdir()
    hint = f"to go on when that is put right: dialsum resume {run.name} --runs {run.parent} --on ray:10.0.0.7:6379\n"
    assert hint in capsys.readouterr().err
    assert main(["resume", str(run), *words[-2:]]) == 2
    refusals = [event for event in read_events(run) if event["event"] == "refused"]
    fields = dict(node="second (10.0.0.7, second)", differences="torch 2.12.0 instead of 2.13.0")
    assert [(event["code"], event["fields"]) for event in refusals] == [("node_differs", fields)] * 2


def test_resume_without_ray_leaves_an_experiment_as_it_is(cluster, monkeypatch, tmp_path, words, capsys):
    cluster.join("second", OTHER)
    assert main(["run", *words]) == 2
    [run] = (tmp_path / "runs").iterdir()
    before = {path: path.read_bytes() for path in run.iterdir()}
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["resume", str(run), *words[-2:]]) == 2 and "Ray is not installed" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.iterdir()} == before
