"What ends, and what goes on, when time, memory or a folder is taken"

import functools
import sys

import pandas as pd
import pytest
import torch
from toys import known_rows, learned

from dialsum.data.dialogues import read
from dialsum.generation.decoding import Decoding
from dialsum.generation.predictor import Predictor
from dialsum.models.cards import card
from dialsum.models.loading import load
from dialsum.models.precision import Precision
from dialsum.models.replicas import replica
from dialsum.pipeline.process import run_stage
from dialsum.pipeline.spec import StageSpec
from dialsum.runs.error_facts import error_sentence
from dialsum.runs.errors import DialsumError
from dialsum.runs.folders import new_run
from dialsum.runs.locks import hold, release
from dialsum.runs.places import sample_path
from dialsum.training.fine_tuning import train
from dialsum.training.recipe import make_recipe

SMALL = dict(scale="replica", debug=True, epochs=1, max_new_tokens=8)


@pytest.fixture
def small_memory(monkeypatch):
    "Room for four rows at once: KoBART with more asks the allocator for what no machine has"
    from transformers import BartForConditionalGeneration

    learned("kobart")  # with all the room that there is, where no other test has trained it yet
    forward = BartForConditionalGeneration.forward

    @functools.wraps(forward)
    def limited(self, *args, **kwargs):
        if max(len(v) for v in kwargs.values() if isinstance(v, torch.Tensor) and v.ndim) > 4:
            torch.empty(2**50)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(BartForConditionalGeneration, "forward", limited)


def test_out_of_memory_the_batch_is_halved_and_the_update_stays(small_memory, tmp_path, capsys):
    rows, c = read(sample_path() / "train.csv", summaries=True).head(32), card("kobart")

    def ask(folder, **how):
        return train(
            load(c, str(replica(c))),
            rows,
            rows.head(2),
            make_recipe(c, "replica", dict(epochs=1, seed=7) | how),
            tmp_path / folder,
            Precision.for_this_machine(c, "replica"),
            say=print,
        )

    happened = ask("asked", batch_size=16, gradient_accumulation_steps=2)
    assert (
        happened["recipe"]["batch_size"],
        happened["recipe"]["gradient_accumulation_steps"],
        happened["steps"],
    ) == (4, 8, 1)
    assert capsys.readouterr().out.count("out of memory") == 2
    given = ask("given", batch_size=4, gradient_accumulation_steps=8)
    assert (
        happened["curve"] == given["curve"]
    )  # as if it had been asked for so: nothing of the failed attempts is left in the weights


def test_what_is_kept_beside_the_best_survives_out_of_memory_and_a_kill(small_memory, tmp_path):
    class Killed(Exception):
        pass

    def scores(*values):  # of the epochs, one after the other; None: the machine lost its power
        left = iter(values)

        def write():
            score = next(left)
            if score is None:
                raise Killed
            return dict(rouge_mean=score)

        return write

    rows, c = read(sample_path() / "train.csv", summaries=True).head(16), card("kobart")

    def go(write):
        return train(
            load(c, str(replica(c))),
            rows,
            rows.head(2),
            make_recipe(c, "replica", dict(epochs=3, batch_size=8, keep_checkpoints=1)),
            tmp_path,
            Precision.for_this_machine(c, "replica"),
            write,
            say=lambda line: None,
        )

    with pytest.raises(Killed):
        go(scores(1.0, 2.0, None))
    happened = go(
        scores(3.0)
    )  # fails with eight rows once more, and goes on with four after the second epoch
    assert (
        happened["recipe"]["batch_size"] == 4
        and happened["best"]["epoch"] == 3
        and happened["kept"] == ["epoch2"]
        and [p.name for p in (tmp_path / "epochs").iterdir()] == ["epoch2"]
    )


def test_out_of_memory_with_a_single_row_is_one_sentence(monkeypatch, tmp_path):
    from transformers import BartForConditionalGeneration

    rows, c, forward = (
        read(sample_path() / "train.csv", summaries=True).head(8),
        card("kobart"),
        BartForConditionalGeneration.forward,
    )
    monkeypatch.setattr(
        BartForConditionalGeneration,
        "forward",
        functools.wraps(forward)(lambda self, *args, **kwargs: torch.empty(2**50)),
    )
    with pytest.raises(DialsumError, match="out of memory with one row at once"):
        train(
            load(c, str(replica(c))),
            rows,
            rows.head(2),
            make_recipe(c, "replica", dict(epochs=1, batch_size=4)),
            tmp_path,
            Precision.for_this_machine(c, "replica"),
            say=lambda line: None,
        )


def test_out_of_memory_writing_goes_on_with_fewer_at_once(small_memory, capsys):
    texts, c = list(known_rows()["dialogue"]), card("kobart")
    predictor, small = (
        Predictor(load(c, str(learned("kobart"))), n, decoding=Decoding(max_new_tokens=8)) for n in (16, 4)
    )
    assert predictor.predict_batch(texts) == small.predict_batch(texts)
    assert predictor.batch_size == 4 and capsys.readouterr().out.splitlines() == [
        f"out of memory: {n} dialogues at once from here on" for n in (8, 4)
    ]


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


def test_a_first_step_that_takes_too_long_ends_with_a_fact(tmp_path):
    run, many = new_run("slow", {}, tmp_path), tmp_path / "many.csv"
    rows = pd.read_csv(sample_path() / "dev.csv")
    long = pd.concat([rows] * 60, ignore_index=True).assign(
        fname=lambda r: [f"many_{i}" for i in r.index],
        dialogue=lambda r: [d + f"\n#Person1#: {i}번째입니다." * 60 for i, d in enumerate(r["dialogue"])],
    )
    long.to_csv(many, index=False)
    params = dict(SMALL, dev_csv=str(many), train_csv=str(sample_path() / "train.csv"), first_step_timeout=1)
    params.pop("debug")
    fact = run_stage(StageSpec(run, "train", "kobart", params), timeout=1200)
    assert (
        fact.status == "failed"
        and fact.error.kind == "timeout"
        and "the first step took longer than 1 s" in error_sentence(fact.error)
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
    hold(run)
    try:
        done = dialsum("stage", "data", "-p", "run", run)
        assert done.returncode == 2 and "another process is writing" in done.stderr
        bare = call("papermill", "nbs/data.ipynb", tmp_path / "out.ipynb", "-p", "run", run, "-k", "python3")
        assert bare.returncode != 0 and "another process is writing" in bare.stderr
        assert not (run / "data.json").exists()
    finally:
        release(run)
    assert dialsum("stage", "data", "-p", "run", run).returncode == 0
