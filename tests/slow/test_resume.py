"""A whole experiment; and one that is killed again and again, which ends as if nothing had happened.

`python -m pytest -m slow tests/slow/test_resume.py --kills 50` is the long version."""

import random
import re
import shutil
import signal
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from support.experiments import fact_of
from support.resume import (  # noqa: F401
    TIMES,
    assert_same_outcome,
    copied,
    experiment,
    go,
    of,
    small,
    undisturbed,
)

from dialsum.pipeline.kernel import _sockets
from dialsum.pipeline.ownership import state
from dialsum.report.document import render
from dialsum.report.experiment import Experiment, read_experiment
from dialsum.runs.events import read_events
from dialsum.runs.facts import experiment_record
from dialsum.runs.records import ExperimentRecord


def target(driver, kind):  # the process to kill now, if it is there
    if kind == "driver":
        return driver
    try:
        own = psutil.Process(driver.pid).children()
        servers = [p for p in own if "run_server" in " ".join(p.cmdline())]
        runners = [p for server in servers for p in server.children()]
        runners += [
            p for p in own if "process import child" in " ".join(p.cmdline())
        ]  # when a server is gone
        kernels = [p for runner in runners for p in runner.children()]
    except psutil.Error:
        return None
    found = dict(server=servers, runner=runners, kernel=kernels)[kind]
    return random.choice(found) if found else None


def kill_one(driver, kind, dice):
    "Whether it was killed: after a random time, unless the driver ends before"
    end = time.monotonic() + dice.uniform(0.2, 12)
    while driver.poll() is None:
        if time.monotonic() >= end and (p := target(driver, kind)):
            try:
                p.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
            return True
        time.sleep(0.02)
    return False


def newest(runs):  # the run folder that was made last; None where there is none yet
    return max(runs.iterdir(), key=lambda run: run.name, default=None) if runs.is_dir() else None


def timeless(
    run,
):  # the report's text, as if every stage had taken no time, and the experiment had another name
    e = read_experiment(run)

    def still(value):
        if isinstance(value, dict):
            return {
                k: 0
                if k in TIMES
                else "2026-01-01T00:00:00.000+00:00"
                if k in ("started", "finished", "created")
                else still(v)
                for k, v in value.items()
                if k != "attempts"
            }
        return [still(v) for v in value] if isinstance(value, list) else value

    text = render(
        Experiment(
            "x",
            ExperimentRecord.model_validate(still(e.record.to_dict()) | dict(experiment="x")),
            [
                fact_of(**still(f.to_dict()) | dict(experiment="x"))
                for f in sorted(e.facts, key=lambda f: (f.stage, f.model or ""))
            ],
        )
    )
    return re.sub(
        r"\b[0-9a-f]{12}\b", "hash", text.replace(str(run.parent.parent), "…")
    )  # of files that hold times


@pytest.mark.slow
def test_killed_again_and_again_it_ends_as_if_nothing_had_happened(
    undisturbed, small, env, tmp_path, request
):
    kills, dice, done, turn = request.config.getoption("--kills"), random.Random(7), 0, 0
    begin = [
        "run",
        *small,
        "--runs",
        tmp_path / "runs",
        "--reports",
        tmp_path / "reports",
        "--json",
    ]  # as the undisturbed one was asked for
    driver, drivers = go(env, *begin), 1
    while done < kills:
        kind = ("kernel", "runner", "server", "driver")[turn % 4]
        if kill_one(driver, kind, dice):
            done, turn = done + 1, turn + 1
        if driver.poll() is not None or kind == "driver":
            driver.communicate()
            run = newest(tmp_path / "runs")
            assert drivers < 5 * kills + 20
            if run is not None and not (run / "experiment.json").is_file():
                run = shutil.rmtree(run)  # killed before anything was asked
            driver, drivers = go(env, "resume", run, "--json") if run else go(env, *begin), drivers + 1
    said = driver.communicate()[0]
    for _ in range(3):  # what the last kills have left
        if driver.returncode == 0:
            break
        driver = go(env, "resume", newest(tmp_path / "runs"), "--json")  # however many were killed before
        said = driver.communicate()[0]
    assert driver.returncode == 0, said
    run = newest(tmp_path / "runs")
    print(f"{done} kills under {drivers} drivers")
    assert_same_outcome(run, undisturbed)
    assert timeless(run) == timeless(undisturbed)
    for model in experiment_record(undisturbed).options["models"]:  # what had succeeded did not run again
        happened = [
            (e["event"], e.get("status"))
            for e in read_events(run)
            if e.get("model") == model and e.get("stage") == "train" and e["event"] in ("start", "end")
        ]
        assert (
            happened.count(("end", "success")) <= 1
            and happened[-1][0] in ("end", "start")
            and ("start", None)
            not in happened[
                happened.index(("end", "success")) + 1 if ("end", "success") in happened else len(happened) :
            ]
        ), happened
    assert (
        state(run) == "complete"
        and not of(run)
        and not [p for p in run.rglob("*") if ".tmp" in p.name or "torn" in p.name or p.name == "checkpoints"]
    )
    assert not list(Path(tempfile.gettempdir()).glob(f"{_sockets(run, '*').name}/*kernel*"))


@pytest.mark.slow
def test_two_drivers_on_one_experiment(copied, env):
    (copied / "qwen3-4b" / "predict.json").unlink()
    before, first = len(read_events(copied)), go(env, "resume", copied)
    while not any(e["event"] == "start" for e in read_events(copied)[before:]):
        time.sleep(0.05)
    assert state(copied) == "running"
    second = go(env, "resume", copied)
    said = second.communicate()[0]
    assert second.returncode == 2 and f"another process ({first.pid} on " in said, said
    first.send_signal(signal.SIGKILL)
    first.communicate()
    for _ in range(600):  # a server that imports looks up when it has done so
        if not of(copied):
            break
        time.sleep(0.1)
    assert state(copied) == "interrupted" and not of(copied)
    third = go(env, "resume", copied)
    said = third.communicate()[0]
    assert third.returncode == 0 and state(copied) == "complete", said
