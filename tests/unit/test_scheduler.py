"What a scheduler believes: no executor, only the fact of the attempt that began last"

import errno
import json
import sys
import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from support.executors import MachineGone, Nodes, later, succeed

from dialsum.pipeline import scheduler
from dialsum.pipeline.done import Ledger, why_undone
from dialsum.pipeline.executor import LocalExecutor, Task
from dialsum.pipeline.ownership import state, worker
from dialsum.pipeline.plan import plan_stages
from dialsum.pipeline.process import run_attempt
from dialsum.pipeline.scheduler import LOSSES, run_plan
from dialsum.pipeline.spec import StageSpec
from dialsum.runs.attempt_ids import check_new, last_attempts
from dialsum.runs.errors import DialsumError
from dialsum.runs.events import events_file_of, log_event, read_events
from dialsum.runs.facts import read_fact, write_fact
from dialsum.runs.folders import new_run

TRAIN, EVALUATE = "kobart/train", "kobart/evaluate"


@pytest.fixture
def specs(tmp_path):
    run = new_run("nodes", {}, tmp_path)
    return [s for s in plan_stages(run, ["kobart"], dict(scale="replica")) if s.stage != "report"]


def run(specs, nodes, **more):
    lines = []
    return run_plan(specs, say=lines.append, executor=nodes, **more), lines


def kinds(ended):
    return {key: fact.error.kind if fact.error else fact.status for key, fact in ended.items()}


def events(specs, kind):
    return [e for e in read_events(specs[0].run) if e["event"] == kind]


def test_a_plan_runs_in_its_order_and_the_executor_is_stopped_once(specs):
    nodes = Nodes(workers=1)
    ended, lines = run(specs, nodes)
    assert set(kinds(ended).values()) == {"success"} and nodes.stopped == 1
    keys = [task.spec.key for task in nodes.tasks]
    assert keys == [s.key for s in specs] and len(lines) == len(specs)
    assert all(read_fact(s.fact).attempt == nodes.attempts(s.key)[0] for s in specs)
    again = Nodes()
    ended, _ = run(specs, again)
    assert not again.tasks and set(kinds(ended).values()) == {"success"}  # what is done is kept


def test_what_a_stage_needs_is_handed_to_the_executor(specs):
    nodes = Nodes()
    run(specs, nodes, resources={TRAIN: dict(gpus=1, memory=2**30)})
    assert nodes.resources[TRAIN] == dict(gpus=1, memory=2**30) and nodes.resources["data"] == {}


def fail(spec):
    raise ValueError("too many dimensions 'str'")


def lose(spec):
    raise MachineGone("node 7 is gone")


def test_a_return_without_a_fact_is_a_failure_and_what_needs_it_is_blocked(specs):
    ended, _ = run(specs, Nodes(acts={TRAIN: lambda spec: "done, believe me"}))
    assert kinds(ended)[TRAIN] == "died" and kinds(ended)[EVALUATE] == "blocked"
    assert read_fact(specs[2].fact).error.code == "stage_left_no_facts"


def test_an_exception_beside_a_fact_is_not_believed(specs):
    def both(spec):
        succeed(spec)
        raise MachineGone("said an executor that was cut off")

    ended, _ = run(specs, Nodes(acts={TRAIN: both}))
    assert set(kinds(ended).values()) == {"success"} and not events(specs, "lost")


def test_an_exception_without_a_fact_is_recorded_once_with_its_cause(specs):
    nodes = Nodes(acts={TRAIN: fail})
    ended, _ = run(specs, nodes)
    error = ended[TRAIN].error
    assert (error.kind, error.type) == ("exception", "ValueError") and len(nodes.attempts(TRAIN)) == 1
    assert error.innermost.endswith("in fail") and read_fact(specs[2].fact).error == error


class OutOfMemoryError(Exception):
    "What Ray and torch call theirs"


def run_out(spec):
    raise OutOfMemoryError("3 worker(s) were killed due to the node running low on memory.")


def test_a_stage_whose_machine_had_no_memory_left_is_diagnosed_and_not_tried_again(specs):
    nodes = Nodes(acts={TRAIN: run_out})
    ended, _ = run(specs, nodes)
    error = read_fact(specs[2].fact).error
    assert (error.kind, error.diagnosis) == ("memory", "memory-killed")
    assert len(nodes.attempts(TRAIN)) == 1 and not events(specs, "lost")
    assert kinds(ended)[EVALUATE] == "blocked"


def test_a_lost_machine_is_an_event_and_the_stage_goes_on_elsewhere(specs):
    acts = iter([lose, succeed])
    nodes = Nodes(acts={TRAIN: lambda spec: next(acts)(spec)})
    ended, lines = run(specs, nodes)
    assert set(kinds(ended).values()) == {"success"}
    first, second = nodes.attempts(TRAIN)
    assert [(e["attempt"], e["reason"]) for e in events(specs, "lost")] == [(first, "node 7 is gone")]
    assert read_fact(specs[2].fact).attempt == second
    assert [line for line in lines if line.startswith(f"{TRAIN} runs again: its machine was lost")]


def test_a_stage_that_loses_every_machine_fails(specs):
    nodes = Nodes(acts={TRAIN: lose})
    ended, _ = run(specs, nodes)
    assert kinds(ended)[TRAIN] == "lost" and len(nodes.attempts(TRAIN)) == LOSSES + 1
    assert len(events(specs, "lost")) == LOSSES + 1 == ended[TRAIN].error.fields["count"]
    assert kinds(ended)[EVALUATE] == "blocked" and kinds(ended)["data"] == "success"


def test_a_fact_that_is_seen_late_is_waited_for_while_others_go_on(specs):
    began = []

    def slow(spec):
        began.append(later(1, spec))

    ended, _ = run(specs, Nodes(patience=60, acts={"data": slow}))
    assert set(kinds(ended).values()) == {"success"} and began and not events(specs, "lost")


def test_a_fact_that_is_not_seen_in_time_is_none(specs):
    ended, _ = run(specs, Nodes(patience=0.3, acts={"data": lambda spec: None}))
    assert kinds(ended)["data"] == "died" and kinds(ended)["preflight"] == "success"


def test_the_late_fact_of_an_attempt_that_was_given_up_is_refused(specs):
    abandoned = []

    def cut_off(spec):
        if not abandoned:
            abandoned.append(spec)
            raise MachineGone("no answer")
        succeed(spec)

    run(specs, Nodes(acts={TRAIN: cut_off}))
    [spec], counted = abandoned, read_fact(specs[2].fact)
    late = counted.model_copy(update=dict(attempt=spec.attempt))
    with pytest.raises(DialsumError, match="another attempt"):  # its machine is back and writes
        write_fact(spec.run, spec.fact, late)
    assert read_fact(specs[2].fact) == counted and why_undone(specs[2]) is None


def test_a_fact_of_a_former_attempt_is_not_believed(specs):
    run(specs, Nodes())
    log_event(specs[0].run, "start", **specs[2].key_fields, attempt="0123456789ab")
    reason = why_undone(specs[2])
    assert reason.code == "fact_set_aside" and not specs[2].fact.exists()


def begin_on(host, ahead, spec):
    "Note the start of an attempt on a machine whose clock is so many seconds ahead"
    time = (datetime.now().astimezone() + timedelta(seconds=ahead)).isoformat()
    event = dict(time=time, event="start", **spec.key_fields, attempt=spec.attempt)
    with open(spec.run / events_file_of(host), "a") as f:
        f.write(json.dumps(event) + "\n")


@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_no_clock_of_a_lost_machine_decides_which_attempt_counts(specs, ahead):
    def lost(spec):
        begin_on("node7", ahead, spec)
        lose(spec)

    acts = iter([lost, succeed])
    ended, _ = run(specs, Nodes(acts={TRAIN: lambda spec: next(acts)(spec)}))
    assert set(kinds(ended).values()) == {"success"} and why_undone(specs[2]) is None


@pytest.mark.parametrize("ahead", [-3600, 0, 3600])
def test_an_attempt_begins_after_the_one_that_it_has_seen(specs, ahead):
    spec = specs[2]
    begin_on("node7", ahead, replace(spec, attempt="0123456789ab"))
    former = check_new(spec.run, spec.key, "ba9876543210")
    log_event(spec.run, "start", **spec.key_fields, attempt="ba9876543210", former=former)
    assert former == "0123456789ab" and last_attempts(read_events(spec.run)) == {TRAIN: "ba9876543210"}


def test_an_attempt_that_was_given_up_before_it_began_never_begins(specs):
    acts = iter([lose, succeed])
    nodes = Nodes(acts={TRAIN: lambda spec: next(acts)(spec)})
    run(specs, nodes)
    first, second = nodes.attempts(TRAIN)
    with pytest.raises(DialsumError, match="not made twice"):  # its machine is back, with the task
        run_attempt(replace(specs[2], attempt=first))
    assert read_fact(specs[2].fact).attempt == second and why_undone(specs[2]) is None


def begin_and_lose(spec):
    begin_on("node7", 3600, spec)
    lose(spec)


@pytest.mark.parametrize(
    ("then", "kind"), [(lambda spec: "done", "died"), (fail, "exception"), (lose, "lost")]
)
def test_an_attempt_that_never_began_is_recorded_after_one_that_did(specs, then, kind):
    acts = iter([begin_and_lose, then, then])
    nodes = Nodes(acts={TRAIN: lambda spec: next(acts)(spec)})
    ended, _ = run(specs, nodes)
    fact = read_fact(specs[2].fact)
    assert kinds(ended)[TRAIN] == fact.error.kind == kind and kinds(ended)[EVALUATE] == "blocked"
    assert fact.attempt == nodes.attempts(TRAIN)[-1]


def test_a_fact_is_looked_for_with_pauses(specs, monkeypatch):
    looks, look = [], scheduler._own_fact
    monkeypatch.setattr(scheduler, "_own_fact", lambda spec: looks.append(spec.key) or look(spec))
    run(specs, Nodes(patience=1, acts={TRAIN: lambda spec: None}))
    assert 2 <= looks.count(TRAIN) <= 1 / scheduler.LOOK_AGAIN + 2


def test_an_executor_without_room_gets_one_stage_after_the_other(specs):
    class Full(Nodes):
        questions = 0

        def has_room(self, **resources):
            self.questions += 1
            assert self.questions < 1000, "it is asked for ever"
            return False

    nodes = Full(workers=1)
    ended, _ = run(specs, nodes)
    assert set(kinds(ended).values()) == {"success"} and len(nodes.tasks) == len(specs)


def test_room_that_comes_while_stages_run_is_seen(specs, monkeypatch):
    monkeypatch.setattr(scheduler, "ROOM_AGAIN", 0.05, raising=False)
    began = threading.Event()

    class Growing(Nodes):
        questions = 0

        def has_room(self, **resources):
            self.questions += 1
            return self.questions > 5

    def hold(spec):
        assert began.wait(5), "nobody asked again"
        succeed(spec)

    def begin(spec):
        began.set()
        succeed(spec)

    alone = [StageSpec(specs[0].run, "data"), StageSpec(specs[0].run, "preflight")]
    ended, _ = run(alone, Growing(acts=dict(data=hold, preflight=begin)))
    assert set(kinds(ended).values()) == {"success"}


def test_what_nobody_foresaw_ends_one_stage_alone(specs, monkeypatch):
    keep = scheduler.keep
    run(specs, Nodes())

    def gone(spec):
        if spec.key == TRAIN:
            raise OSError(errno.ESTALE, "Stale file handle")
        return keep(spec)

    monkeypatch.setattr(scheduler, "keep", gone)
    ended, _ = run(specs, Nodes())
    assert kinds(ended)[TRAIN] == "exception" and ended[EVALUATE].succeeded


def test_an_experiment_is_left_also_where_its_executor_cannot_be_stopped(specs):
    class Gone(Nodes):
        def stop(self):
            super().stop()
            raise ConnectionError("the cluster is gone")

    with pytest.raises(ConnectionError):
        run(specs, Gone())
    assert worker(specs[0].run) is None and read_events(specs[0].run)[-1]["event"] == "close"


def test_a_stage_for_which_no_thread_starts_takes_no_room(specs, monkeypatch):
    def refuse(*work):
        raise RuntimeError("can't start new thread")

    local = LocalExecutor(1, cold=True)
    monkeypatch.setattr(local.pool, "submit", refuse)
    with pytest.raises(RuntimeError):
        local.submit(Task(specs[0]))
    assert local.has_room()
    local.stop()


def test_a_stage_that_was_begun_twice_ends_once(specs):
    def twice(spec):
        succeed(spec)
        succeed(spec)

    ended, lines = run(specs, Nodes(acts={TRAIN: twice}))
    assert set(kinds(ended).values()) == {"success"} and len(lines) == len(specs)


def test_an_executor_that_refuses_to_run_a_stage_fails_that_stage_alone(specs):
    class Full(Nodes):
        def submit(self, task, **resources):
            if task.spec.key == TRAIN:
                raise OSError("no room for a process")
            return super().submit(task, **resources)

    ended, _ = run(specs, Full())
    assert kinds(ended)[TRAIN] == "exception" and kinds(ended)["data"] == "success"


def test_an_interruption_stops_the_executor_and_says_so_in_the_facts(specs):
    def interrupt(line):
        raise KeyboardInterrupt

    nodes, held = Nodes(acts={"data": lambda spec: hold.wait(60)}), specs[0].run
    hold = threading.Event()
    stop = nodes.stop
    nodes.stop = lambda: (hold.set(), stop())
    with pytest.raises(KeyboardInterrupt):
        run_plan(specs, say=interrupt, executor=nodes)
    assert nodes.stopped == 1 and state(held) == "interrupted"
    assert read_fact(held / "data.json").error.kind == "interrupted"
    assert not read_fact(held / "data.json").succeeded


def opened(thread_prefixes):  # counts what other threads than the nodes' ask of the file system
    counts = dict(open=0, listed=0)

    def hook(event, args):
        if not counting or threading.current_thread().name.startswith(thread_prefixes):
            return
        if event == "open" and isinstance(args[0], (str, bytes)):
            counts["open"] += 1
        if event in ("os.listdir", "os.scandir"):
            counts["listed"] += 1

    counting = [True]
    sys.addaudithook(hook)
    return counts, counting


def thousand(tmp_path, name, models):
    run = new_run(name, {}, tmp_path)
    specs = [StageSpec(run, "data")]
    for number in range(models):
        chain = ["data"]
        for stage in ("train", "evaluate", "predict"):
            specs.append(StageSpec(run, stage, f"m{number}", needs=(chain[-1],)))
            chain.append(specs[-1].key)
    return specs


def test_what_a_finished_stage_costs_does_not_grow_with_the_plan(tmp_path, monkeypatch):
    monkeypatch.setattr("dialsum.pipeline.scheduler.refused", lambda *args: None)
    monkeypatch.setattr(StageSpec, "all_params", property(lambda spec: {}))  # these models have no cards
    costs = []
    for models in (5, 25):
        specs = thousand(tmp_path, f"m{models}", models)
        counts, counting = opened("node")
        nodes = Nodes(workers=16)
        ended, _ = run(specs, nodes)
        counting.clear()
        assert len(ended) == len(specs) and all(f.succeeded for f in ended.values())
        costs.append({name: count / len(specs) for name, count in (counts | dict(asked=nodes.asked)).items()})
    small, large = costs
    assert large["open"] < small["open"] + 0.5 and large["open"] < 12, costs
    assert large["listed"] < small["listed"] + 0.5, costs
    assert large["asked"] < 4, costs  # a few times for each stage that begins or ends, however many wait


def test_the_events_of_a_run_are_read_once(specs, monkeypatch):
    import dialsum.pipeline.done as done

    run(specs, Nodes())
    ledger = Ledger.of(read_events(specs[0].run))
    monkeypatch.setattr(done, "read_events", lambda run: pytest.fail("read again"))
    assert [why_undone(spec, ledger=ledger) for spec in specs] == [None] * len(specs)
    again = Nodes()
    ended, _ = run(specs, again)
    assert not again.tasks and set(kinds(ended).values()) == {"success"}


def test_the_fact_of_an_earlier_attempt_is_not_taken_for_this_one(specs):
    run(specs, Nodes())
    changed = [replace(s, params=s.params | dict(seed=7)) if s.stage == "data" else s for s in specs]
    nodes = Nodes(acts={"data": lambda spec: "done, believe me"})  # the former fact still lies there
    ended, _ = run(changed, nodes)
    assert kinds(ended)["data"] == "died" and [ended["data"].attempt] == nodes.attempts("data")


def test_the_time_left_is_worked_out_once_a_second(specs, monkeypatch):
    worked_out = []
    monkeypatch.setattr("dialsum.pipeline.scheduler.time_left", lambda *_: worked_out.append(1) or "")
    clock = SimpleNamespace(monotonic=lambda: 5.0, sleep=time.sleep)
    monkeypatch.setattr("dialsum.pipeline.scheduler.time", clock)
    _, lines = run(specs, Nodes())
    assert len(lines) == len(specs) > 1 and len(worked_out) == 1


def test_a_fact_that_was_noted_after_the_events_were_read_is_believed(specs):
    run(specs, Nodes())
    assert why_undone(specs[2], ledger=Ledger({}, {})) is None and specs[2].fact.exists()
