"What ends, and what goes on, when time, memory or a folder is taken"

import re
import sys

import pandas as pd
import pytest

from dialsum.pipeline.process import run_stage
from dialsum.pipeline.spec import StageSpec
from dialsum.runs.error_facts import error_sentence
from dialsum.runs.folders import new_run
from dialsum.runs.leases import hold, release
from dialsum.runs.places import sample_path

SMALL = dict(scale="replica", debug=True, epochs=1, max_new_tokens=8)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["train", "predict"])
def test_loading_that_takes_too_long_ends_with_a_fact(stage, tmp_path):
    run = new_run("slow", {}, tmp_path)
    fact = run_stage(
        StageSpec(run, stage, "kobart", dict(scale="replica", load_timeout=0.05)), timeout=600
    )  # importing transformers alone takes longer
    assert fact.status == "failed" and fact.error.kind == "timeout", fact.error
    assert error_sentence(fact.error).startswith(
        "loading the model took longer than 0.05 s"
    ) and "--load-timeout" in error_sentence(fact.error)


@pytest.mark.slow
def test_a_first_step_that_takes_too_long_ends_with_a_fact(tmp_path):
    run, many = new_run("slow", {}, tmp_path), tmp_path / "many.csv"
    rows = pd.read_csv(sample_path() / "dev.csv")
    long = pd.concat([rows] * 60, ignore_index=True).assign(
        fname=lambda r: [f"many_{i}" for i in r.index],
        dialogue=lambda r: [d + f"\n#Person1#: {i}번째입니다." * 60 for i, d in enumerate(r["dialogue"])],
    )
    long.to_csv(many, index=False)
    params = dict(SMALL, dev_csv=str(many), train_csv=str(sample_path() / "train.csv"), batch_size=256)
    params |= dict(first_step_timeout=0.05)  # less than 256 long dialogues at once take
    params.pop("debug")
    fact = run_stage(StageSpec(run, "train", "kobart", params), timeout=1200)
    assert (
        fact.status == "failed"
        and fact.error.kind == "timeout"
        and "the first step took longer than 0.05 s" in error_sentence(fact.error)
    ), fact.error
    assert not (run / "kobart" / "model").exists()


def test_a_limit_ends_what_a_script_has_started_in_the_background(call, tmp_path):
    "There shells let interruptions be ignored"
    code = (
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nfrom dialsum.runs.stage import begin\nfrom dialsum.runs.time_limits import TimeLimit\n"
        f'stage = begin("train", dict(run={str(new_run("background", {}, tmp_path))!r}))\nstage.model = "kobart"\n'
        'try:\n    with stage.limit("loading", 1, "--load-timeout"): time.sleep(600)\nexcept TimeLimit: print("ended")\n'
    )
    assert call(sys.executable, "-c", code).stdout == "ended\n"


def test_where_an_interruption_is_not_heard_the_process_ends(call, tmp_path):
    code = (
        "import signal, time\nfrom dialsum.runs.stage import begin\nfrom dialsum.runs.time_limits import Deadline\nDeadline.deaf = 1\n"
        f'stage = begin("train", dict(run={str(new_run("deaf", {}, tmp_path))!r}))\nstage.model = "kobart"\n'
        'signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\nwith stage.limit("loading", 1, "--load-timeout"): time.sleep(60)\n'
    )
    assert call(sys.executable, "-c", code).returncode == 124
    assert (
        next(tmp_path.glob("*/kobart/train.json"))
        .read_text(encoding="utf-8")
        .count('"code": "time_limit_exceeded"')
        == 1
    )


def test_two_processes_do_not_write_to_one_run(call, dialsum, tmp_path):
    run = new_run("held", {}, tmp_path)
    hold(run, work="an experiment")
    by = re.compile(r"another process \(\d+ on .*, since .*, for an experiment\) is writing")
    try:
        done = dialsum("stage", "data", "-p", "run", run)
        assert done.returncode == 2 and by.search(done.stderr)
        bare = call("papermill", "nbs/data.ipynb", tmp_path / "out.ipynb", "-p", "run", run, "-k", "python3")
        assert bare.returncode != 0 and by.search(bare.stderr)
        assert not (run / "data.json").exists()
    finally:
        release(run)
    assert dialsum("stage", "data", "-p", "run", run).returncode == 0
