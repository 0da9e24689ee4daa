"""Experiments on a Ray cluster of two nodes: as on one machine, also when a node goes away, or whatever is killed.

`python -m pytest -m slow tests/slow/test_ray.py --kills 20` is the long version."""

import json
import os
import random
import shutil
import signal
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from support.executors import Nodes
from support.resume import assert_same_outcome, experiment, go, of, same, small, undisturbed  # noqa: F401

from dialsum.pipeline import ray_executor
from dialsum.pipeline.executor import Task
from dialsum.pipeline.ownership import state
from dialsum.pipeline.ray_executor import RayExecutor
from dialsum.pipeline.scheduler import run_plan
from dialsum.pipeline.spec import StageSpec
from dialsum.runs.events import read_events
from dialsum.runs.facts import experiment_record, read_facts
from dialsum.runs.folders import new_run

pytest.importorskip("ray", reason="pip install 'dialsum[ray]'")
pytestmark = pytest.mark.slow
SMALL_STORE = 80 * 2**20  # bytes; what stages return is a word


class TwoNodes:
    "A head that runs nothing, and two nodes that run one stage each"

    def __init__(self):
        from ray.cluster_utils import Cluster

        head = dict(num_cpus=0, include_dashboard=False, object_store_memory=SMALL_STORE)
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = [self.add(), self.add()]
        self.place = f"ray:{self.cluster.address}"

    def add(self):
        return self.cluster.add_node(num_cpus=1, object_store_memory=SMALL_STORE)

    def worker(self, name):
        "The process of Ray that works on a stage; None where there is none"
        for process in psutil.process_iter(["cmdline"]):
            if (process.info["cmdline"] or [""])[0] == f"ray::{name}":
                return process
        return None

    def remove_node_of(self, name):
        "Without grace, and give the cluster another one"
        raylet = self.worker(name).parent().pid
        [node] = [n for n in self.nodes if n.all_processes["raylet"][0].process.pid == raylet]
        self.cluster.remove_node(node, allow_graceful=False)
        self.nodes = [n for n in self.nodes if n is not node] + [self.add()]


@pytest.fixture(scope="module")
def nodes(env):
    before = dict(os.environ)
    quiet = dict(RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0", RAY_worker_niceness="0")
    os.environ.update(env | quiet)
    two = TwoNodes()
    yield two
    two.cluster.shutdown()
    os.environ.clear()
    os.environ.update(before)


def test_a_kill_for_want_of_memory_is_told_as_such_and_no_lost_machine(tmp_path):
    import ray

    words = "2 worker(s) were killed due to the node running low on memory."
    error = ray.exceptions.OutOfMemoryError(words)

    def killed(spec):
        raise error

    run = new_run("killed", {}, tmp_path)
    executor = Nodes(acts={"data": killed})
    executor.lost = partial(RayExecutor.lost, SimpleNamespace(ray=ray))
    ended = run_plan([StageSpec(run, "data")], say=lambda line: None, executor=executor)
    fact = ended["data"].error
    assert (fact.kind, fact.type, fact.diagnosis) == ("memory", "OutOfMemoryError", "memory-killed")
    assert len(executor.attempts("data")) == 1 and words in fact.message


def returns_its_node():
    "What stands in the place of a stage's work: made anew, so that it is sent whole to the workers"

    def work(task, *_):
        import time

        import ray

        time.sleep(float(task.spec.stage))
        return ray.get_runtime_context().get_node_id()

    return work


@pytest.fixture
def executor(nodes, monkeypatch, tmp_path):
    "On the cluster, for tasks that sleep as many seconds as their stage is called and return the id of their node"
    import ray

    monkeypatch.setattr(ray_executor, "_work", returns_its_node())
    said = []
    executor = RayExecutor([new_run("joined", {}, tmp_path)], nodes.cluster.address, say=said.append, grace=1)
    executor.said = said
    yield executor
    executor.stop()
    ray.shutdown()


def sleeping(seconds):
    return Task(StageSpec(Path("."), str(seconds)))


def until(happened):
    end = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.5)


def test_a_node_that_joins_gets_stages_unless_it_differs(nodes, executor, tmp_path):
    other_torch = tmp_path / "other" / "torch-0.0.1.dist-info"
    other_torch.mkdir(parents=True)
    (other_torch / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 0.0.1\n")
    path = os.pathsep.join([str(other_torch.parent), os.environ["PYTHONPATH"]])
    strange = nodes.cluster.add_node(
        num_cpus=1, object_store_memory=SMALL_STORE, env_vars=dict(PYTHONPATH=path)
    )
    alike = nodes.add()
    nodes.nodes.append(alike)
    try:
        until(lambda: executor.has_room(cpus=1) and executor.total["CPU"] == 3 and executor.said)
        futures = [executor.submit(sleeping(2), cpus=1) for _ in range(9)]
        node_ids = {future.result(300) for future in futures}
    finally:
        nodes.cluster.remove_node(strange, allow_graceful=False)
    [line] = executor.said
    assert "torch 0.0.1 instead of" in line and strange.node_id[:8] in line
    assert alike.node_id in node_ids and node_ids <= {node.node_id for node in nodes.nodes}


def test_a_task_that_waits_for_nodes_that_are_gone_is_lost(nodes, executor):
    only = nodes.nodes.pop(0)
    executor.cluster.resources = {only.node_id: executor.cluster.resources[only.node_id]}
    futures = [executor.submit(sleeping(600), cpus=1) for _ in range(2)]
    time.sleep(5)  # one runs, the other waits
    nodes.cluster.remove_node(only, allow_graceful=False)
    nodes.nodes.append(nodes.add())
    until(lambda: executor.has_room(cpus=1) and all(future.done() for future in futures))
    errors = [future.exception() for future in futures]
    assert all(map(executor.lost, errors)), errors


def begin(env, small, nodes, top):
    folders = ["--runs", top / "runs", "--reports", top / "reports"]
    return go(env, "run", *small, *folders, "--on", nodes.place, "--json")


def run_of(top):
    return next(iter((top / "runs").iterdir()), None) if (top / "runs").is_dir() else None


def wait_for(find, driver, seconds=600):
    "What `find` finds, as soon as it does"
    end = time.monotonic() + seconds
    while not (found := find()):
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def nothing_is_left_of(run):
    end = time.monotonic() + 60
    while of(run) and time.monotonic() < end:
        time.sleep(0.2)
    return not of(run)


OF_AN_ATTEMPT = {"experiment", "attempt", "started", "finished", "host", "devices"}


def comparable(fact):
    "A fact without its times, machine, attempt and folders; the report's content is made of those"
    content = {name: value for name, value in same(fact.to_dict()).items() if name not in OF_AN_ATTEMPT}
    content["params"] |= dict(run="", reports="")
    content["environment"].pop("gpus", None)
    for path in content["inputs"]:
        if path.endswith(
            ".json"
        ):  # the fact of another stage, with its times, which the identity hashes, too
            content["inputs"][path] = content["identity"] = ""
    if fact.stage == "report":
        content |= dict(inputs={}, outputs={}, metrics={}, identity="")
    return content


def test_an_experiment_is_the_same_on_a_cluster(undisturbed, small, nodes, env, tmp_path):
    driver = begin(env, small, nodes, tmp_path)
    said = driver.communicate()[0]
    run = run_of(tmp_path)
    assert driver.returncode == 0 and state(run) == "complete", said
    assert_same_outcome(run, undisturbed)
    here, there = ({f.key: f for f in read_facts(r)} for r in (undisturbed, run))
    assert here.keys() == there.keys()
    for key, fact in here.items():
        assert comparable(fact) == comparable(there[key]), key
    assert nothing_is_left_of(run)


def test_a_node_that_goes_away_is_an_event_and_its_stage_goes_on_elsewhere(
    undisturbed,
    small,
    nodes,
    env,
    tmp_path,
):
    driver = begin(env, small, nodes, tmp_path)
    run = wait_for(lambda: run_of(tmp_path), driver)

    def checkpoint():
        return next(run.glob("*/checkpoints/*/checkpoint-*/trainer_state.json"), None)

    model = wait_for(checkpoint, driver).relative_to(run).parts[0]
    nodes.remove_node_of(f"{model}/train")
    said = driver.communicate()[0]
    assert driver.returncode == 0 and state(run) == "complete", said
    events = [e for e in read_events(run) if (e.get("stage"), e.get("model")) == ("train", model)]
    kinds = [e["event"] for e in events if e["event"] != "beat"]
    assert kinds.count("lost") == 1 and kinds.count("start") == 2 and kinds.count("end") == 1, kinds
    starts = [e["attempt"] for e in events if e["event"] == "start"]
    beats = [e["done"] for e in events if e["event"] == "beat" and e["attempt"] == starts[1]]
    assert beats[0] > 1  # it did not begin from nothing
    assert_same_outcome(run, undisturbed)
    assert nothing_is_left_of(run)


def victim(nodes, run, kind, dice):
    "A process to kill now, if it is there"
    workers = [p for p in map(nodes.worker, experiment_record(run).stages) if p]
    try:
        if kind == "worker":
            return dice.choice(workers) if workers else None
        kernels = [p for w in workers for p in w.children(recursive=True) if "ipykernel" in str(p.cmdline())]
        return dice.choice(kernels) if kernels else None
    except psutil.Error:
        return None


def kill_one(nodes, run, driver, kind, dice):
    "Whether it was killed: after a random time, unless the driver ends before"
    end = time.monotonic() + dice.uniform(0.2, 12)
    while driver.poll() is None:
        time.sleep(0.05)
        if time.monotonic() < end:
            continue
        if kind == "driver":
            driver.send_signal(signal.SIGKILL)
            return True
        if kind == "raylet":
            node = nodes.nodes.pop(0)
            nodes.cluster.remove_node(node, allow_graceful=False)
            nodes.nodes.append(nodes.add())
            return True
        if process := victim(nodes, run, kind, dice):
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
            return True
    return False


def test_whatever_is_killed_it_ends_as_if_nothing_had_happened(
    undisturbed,
    small,
    nodes,
    env,
    tmp_path,
    request,
):
    kills, dice, done, drivers = min(20, request.config.getoption("--kills")), random.Random(7), 0, 1
    driver = begin(env, small, nodes, tmp_path)
    run = wait_for(lambda: run_of(tmp_path), driver)
    wait_for(lambda: (run / "events.jsonl").is_file(), driver)

    def resume():
        return go(env, "resume", run, "--on", nodes.place, "--json")

    while done < kills:
        kind = ("kernel", "worker", "raylet", "driver")[done % 4]
        done += kill_one(nodes, run, driver, kind, dice)
        if driver.poll() is not None or kind == "driver":
            driver.communicate()
            if state(run) == "complete":
                shutil.rmtree(run / "kobart")  # all was done before the last kills: more to do
            driver, drivers = resume(), drivers + 1
            assert drivers < 5 * kills + 20
    said = driver.communicate()[0]
    for _ in range(3):  # what the last kills have left
        if driver.returncode == 0:
            break
        driver = resume()
        said = driver.communicate()[0]
    assert driver.returncode == 0 and state(run) == "complete", said
    print(f"{done} kills under {drivers} drivers")
    assert_same_outcome(run, undisturbed)
    assert nothing_is_left_of(run)
    assert json.loads(said[said.index("{") :])["failed"] == []
