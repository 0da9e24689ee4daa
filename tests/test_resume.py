"""A whole experiment; and one that is killed again and again, which ends as if nothing had happened.

`python -m pytest tests/test_resume.py --kills 50` is the long version."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from experiments import fact_of

from dialsum.pipeline.done import is_done
from dialsum.pipeline.executor import state
from dialsum.pipeline.process import _sockets, run_stage
from dialsum.pipeline.spec import StageSpec
from dialsum.report.document import render
from dialsum.report.experiment import Experiment, read_experiment
from dialsum.runs.events import events
from dialsum.runs.facts import experiment_record, facts, read_fact
from dialsum.runs.records import ExperimentRecord
from dialsum.training.metrics import TrainMetrics

CALL = [sys.executable, "-P", "-c", "import sys; from dialsum.cli import main; sys.exit(main())"]
TIMES = {"seconds", "train_seconds", "evaluation_seconds", "rows_per_second"}


def go(env, *words):
    return subprocess.Popen(
        [*CALL, *map(str, words)],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def small(request):  # the options of a small experiment
    models = (
        ["kobart", "qwen3-4b"]
        if request.config.getoption("--kills") <= 12
        else ["kobart", "qwen3-4b", "solar-10.7b"]
    )
    return [
        "--models",
        *models,
        "--scale",
        "replica",
        "--epochs",
        "3",
        "--debug",
        "--max-new-tokens",
        "12",
        "--no-rehearse",
        "--name",
        "small",
    ]


@pytest.fixture(scope="module")
def experiment(dialsum, small, tmp_path_factory):
    "What `dialsum run --json` says of such an experiment, at its end; its folder is to be left as it is"
    top = tmp_path_factory.mktemp("small")
    done = dialsum("run", *small, "--runs", top / "runs", "--reports", top / "reports", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def undisturbed(experiment):
    return Path(experiment["run"])


@pytest.fixture
def copied(undisturbed, tmp_path):
    "The experiment in another folder; its report goes where it was asked for, and what lay there is put back for the next test"
    top = undisturbed.parent.parent
    yield shutil.copytree(top, tmp_path, dirs_exist_ok=True) / "runs" / undisturbed.name
    shutil.rmtree(top / "reports")
    shutil.copytree(tmp_path / "reports", top / "reports")


def of(run):  # processes that belong to an experiment
    found = []
    for p in psutil.process_iter(["cmdline"]):
        try:
            if p.pid != os.getpid() and (
                str(run) in " ".join(p.info["cmdline"] or []) or p.environ().get("DIALSUM_RUN") == str(run)
            ):
                found.append(p)
        except psutil.Error:
            continue
    return found


def target(driver, kind):  # the process to kill now, if it is there
    if kind == "driver":
        return driver
    mark = dict(runner="from dialsum.pipeline.process import child", kernel="ipykernel_launcher")[kind]
    try:
        found = [
            p for p in psutil.Process(driver.pid).children(recursive=True) if mark in " ".join(p.cmdline())
        ]
    except psutil.Error:
        return None
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


def same(value):
    return (
        {k: same(v) for k, v in value.items() if k not in TIMES}
        if isinstance(value, dict)
        else [same(v) for v in value]
        if isinstance(value, list)
        else value
    )


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
            ExperimentRecord.model_validate(still(e.asked.to_dict()) | dict(experiment="x")),
            [
                fact_of(**still(f.to_dict()) | dict(experiment="x"))
                for f in sorted(e.facts, key=lambda f: (f.stage, f.model or ""))
            ],
        )
    )
    return re.sub(
        r"\b[0-9a-f]{12}\b", "hash", text.replace(str(run.parent.parent), "…")
    )  # of files that hold times


def test_an_experiment_leaves_what_the_design_says(experiment):
    run = Path(experiment["run"])
    assert re.fullmatch(r"\d{8}_\d{6}_small", run.name)
    for name in (
        "experiment.json",
        "events.jsonl",
        "preflight.json",
        "preflight.ipynb",
        "data.json",
        "data.ipynb",
        "data/train.csv",
        "submission.csv",
        "report.json",
        *(
            f"{m}/{f}"
            for m in ("kobart", "qwen3-4b")
            for f in (
                "train.ipynb",
                "train.json",
                "train.log",
                "evaluate.json",
                "predictions_dev.csv",
                "predictions_test.csv",
            )
        ),
    ):
        assert (run / name).is_file(), name
    assert (run / "kobart/model/model.safetensors").is_file() and (
        run / "qwen3-4b/model/adapter_model.safetensors"
    ).is_file()
    assert (
        not list(run.rglob("*.tmp"))
        and not (run / "errors").exists()
        and not (run / "kobart/checkpoints").exists()
    )
    assert Path(experiment["report"]).read_text(encoding="utf-8").startswith("# ")


def test_facts_have_every_key(experiment):
    keys = {
        "schema",
        "experiment",
        "stage",
        "model",
        "fold",
        "status",
        "started",
        "finished",
        "seconds",
        "params",
        "inputs",
        "outputs",
        "identity",
        "metrics",
        "environment",
        "error",
    }
    found = facts(Path(experiment["run"]))
    assert len(found) == 4 + 3 * len(experiment["models"]) and all(
        set(f.to_dict()) == keys and f.status == "success" for f in found
    )
    for f in found:
        if f.stage == "train":
            assert f.metrics.best["loss"] < f.metrics.dev_loss_before
        if f.stage == "evaluate":
            assert f.metrics.split["signature"] != f.metrics.whole["signature"] and len(f.metrics.worst) == 5
    events = [
        json.loads(line) for line in (Path(experiment["run"]) / "events.jsonl").read_text().splitlines()
    ]
    assert [e["event"] for e in events].count("end") == len(found) and {
        "open",
        "beat",
        "start",
        "fact",
        "end",
        "close",
    } == {e["event"] for e in events}


def test_the_submission_is_the_official_format(experiment):
    rows = pd.read_csv(Path(experiment["run"]) / "submission.csv", keep_default_na=False)
    test = pd.read_csv(Path(experiment["run"]) / "data" / "test.csv")
    assert (
        list(rows.columns) == ["Unnamed: 0", "fname", "summary"]
        and list(rows["fname"]) == list(test["fname"])
        and list(rows["Unnamed: 0"]) == list(range(10))
    )


def test_what_is_done_is_not_done_again(experiment):
    run = Path(experiment["run"])
    before = read_fact(run / "kobart" / "train.json", TrainMetrics)
    spec = StageSpec(run, "train", "kobart", {k: v for k, v in before.params.items() if k != "run"})
    happened = events(run)
    assert run_stage(spec) == before and [e["event"] for e in events(run)[len(happened) :]] == [
        "kept"
    ]  # nothing was started
    assert not is_done(StageSpec(run, "train", "kobart", spec.params | dict(epochs=7)))


def test_a_new_score_is_seen_by_what_depends_on_it(experiment, tmp_path):
    import shutil

    from dialsum.runs.files import to_json

    run = tmp_path / "copy"
    shutil.copytree(experiment["run"], run)
    spec = StageSpec(run, "submit")
    assert run_stage(spec).metrics.chosen == read_fact(run / "submit.json").metrics.chosen
    other = next(m for m in ("kobart", "qwen3-4b") if m != read_fact(run / "submit.json").metrics.chosen)
    fact = read_fact(run / other / "evaluate.json")
    fact.metrics.split["mean"]["f"] = 99
    (run / other / "evaluate.json").write_text(to_json(fact))
    assert run_stage(spec).metrics.chosen == other


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
    driver, sessions = go(env, *begin), 1
    while done < kills:
        kind = ("kernel", "runner", "driver")[turn % 3]
        if kill_one(driver, kind, dice):
            done, turn = done + 1, turn + 1
        if driver.poll() is not None or kind == "driver":
            driver.communicate()
            run = newest(tmp_path / "runs")
            assert sessions < 5 * kills + 20
            if run is not None and not (run / "experiment.json").is_file():
                run = shutil.rmtree(run)  # killed before anything was asked
            driver, sessions = go(env, "resume", run, "--json") if run else go(env, *begin), sessions + 1
    said = driver.communicate()[0]
    for _ in range(3):  # what the last kills have left
        if driver.returncode == 0:
            break
        driver = go(env, "resume", newest(tmp_path / "runs"), "--json")  # however many were killed before
        said = driver.communicate()[0]
    assert driver.returncode == 0, said
    run = newest(tmp_path / "runs")
    print(f"{done} kills in {sessions} sessions")
    for path in undisturbed.rglob("predictions_*.csv"):
        assert path.read_bytes() == (run / path.relative_to(undisturbed)).read_bytes(), path.name
    assert (run / "submission.csv").read_bytes() == (undisturbed / "submission.csv").read_bytes()
    for path in undisturbed.rglob("*.safetensors"):
        assert path.read_bytes() == (run / path.relative_to(undisturbed)).read_bytes(), path
    both = [
        {(f.stage, f.model): (f.status, same(f.metrics.to_dict())) for f in facts(r) if f.stage != "report"}
        for r in (undisturbed, run)
    ]
    assert both[0] == both[1]
    assert timeless(run) == timeless(undisturbed)
    for model in experiment_record(undisturbed).options["models"]:  # what had succeeded did not run again
        happened = [
            (e["event"], e.get("status"))
            for e in events(run)
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


def test_a_finished_experiment_has_nothing_left(copied, typed):
    asked = experiment_record(copied)
    before = {
        p: p.stat().st_mtime_ns
        for p in copied.rglob("*")
        if p.is_file() and p.name not in ("events.jsonl", "experiment.json")
    }
    done = typed("resume", copied)
    assert (
        done.returncode == 0
        and "everything is done" in done.stderr
        and done.stderr.count(" kept ") == len(facts(copied))
    ), done.stdout + done.stderr
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert experiment_record(copied) == asked


@pytest.mark.slow
def test_two_drivers_on_one_experiment(copied, env):
    (copied / "qwen3-4b" / "predict.json").unlink()
    before, first = len(events(copied)), go(env, "resume", copied)
    while not any(e["event"] == "start" for e in events(copied)[before:]):
        time.sleep(0.05)
    assert state(copied) == "running"
    second = go(env, "resume", copied)
    said = second.communicate()[0]
    assert second.returncode == 2 and f"another process ({first.pid} on " in said, said
    first.send_signal(signal.SIGKILL)
    first.communicate()
    time.sleep(1.5)
    assert state(copied) == "interrupted" and not of(copied)
    third = go(env, "resume", copied)
    said = third.communicate()[0]
    assert third.returncode == 0 and state(copied) == "complete", said


def test_a_preflight_that_fails_takes_nothing_away(copied, env, tmp_path):
    "The machine is fuller than before: what has succeeded stays, relative folders included"
    (copied / "submit.json").unlink()
    process = subprocess.Popen(
        [*CALL, "resume", "small", "--runs", "runs", "--stage-timeout", "0.5"],
        cwd=tmp_path,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = process.communicate()[0]
    assert process.returncode == 1 and read_fact(copied / "preflight.json").error.kind == "timeout", said
    assert {f.status for f in facts(copied) if f.stage == "train"} == {"success"}
    process = subprocess.Popen(
        [*CALL, "resume", "small", "--runs", "runs"],
        cwd=tmp_path,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = process.communicate()[0]
    assert process.returncode == 0 and "train runs again" not in said and state(copied) == "complete", said
