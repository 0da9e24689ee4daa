"Nodes that join a cluster while an experiment runs: looked at first, told once where they differ"

from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from dialsum.pipeline import ray_executor
from dialsum.pipeline.executor import Task
from dialsum.pipeline.ray_executor import RayExecutor
from dialsum.pipeline.spec import StageSpec
from dialsum.runs.errors import DialsumError

ALIKE = dict(alike=dict(torch="2.13.0"), unseen=[])
OTHER = dict(alike=dict(torch="2.12.0"), unseen=[])
BLIND = dict(ALIKE, unseen=["/data/runs/mine"])


class Gone(Exception):
    "What this cluster raises where there is no answer"


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
        self.exceptions = SimpleNamespace(RayError=Gone)

    def join(self, name, answer=None, cpus=1):
        resources = dict(CPU=cpus)
        address = dict(NodeManagerHostname=name, NodeManagerAddress="10.0.0.7")
        self.living[name] = dict(NodeID=name, Alive=True, Resources=resources, **address)
        if answer:
            self.answers[name] = answer

    def nodes(self):
        return [*self.living.values()]

    def remote(self, work=None, **once):
        return self if work else lambda work: self

    def options(self, scheduling_strategy="", **more):
        if scheduling_strategy:
            return SimpleNamespace(remote=lambda runs: Reference(scheduling_strategy))
        self.submitted.append(more["label_selector"])
        return SimpleNamespace(remote=lambda *_: Reference())

    def wait(self, references, timeout):
        return [r for r in references if r.node in self.answers], []

    def get(self, reference, timeout):
        if reference.node not in self.answers:
            raise Gone
        return self.answers[reference.node]

    def cancel(self, reference, force=False):
        self.cancelled.append(reference)


@pytest.fixture
def cluster(monkeypatch):
    cluster = Cluster()
    cluster.join("first", ALIKE)
    monkeypatch.setattr(ray_executor, "_import_ray", lambda: cluster)
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
    ("answer", "reason"), [(OTHER, "torch 2.12.0 instead of 2.13.0"), (BLIND, "/data/runs/mine")]
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
    assert cluster.submitted == [{"ray.io/node-id": "in(first,large)"}]


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
