"The course of a training: its updates, the epoch that is kept, an adapter that is gone on with, what is refused"

import math

import pytest

from dialsum.runs.errors import DialsumError
from dialsum.training.recipe import Recipe


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.99])
@pytest.mark.parametrize("count", [1, 2, 3, 10, 11, 100])
def test_warm_up_leaves_an_update(ratio, count):
    from dialsum.training.recipe import updates, warmup

    r = Recipe(batch_size=1, epochs=1, warmup_ratio=ratio)
    assert 0 <= warmup(r, count) < updates(r, count) == count


def test_an_update_that_the_scaler_leaves_out_has_no_gradient_norm():
    from types import SimpleNamespace

    from dialsum.training.fine_tuning import training_history
    from dialsum.training.trainer import check_logged

    logged = dict(loss=2.0, grad_norm=math.inf, step=1)
    check_logged(logged, 1)
    evaluation = dict(eval_loss=2.0, eval_rouge_mean=1.0, step=1, epoch=1.0)
    history = training_history(SimpleNamespace(log_history=[logged, evaluation], best_global_step=1))
    assert history["curve"] == [dict(loss=2.0, grad_norm=None, step=1)]


def test_what_another_release_logs_costs_no_training_its_facts():
    from types import SimpleNamespace

    from dialsum.training.fine_tuning import training_history
    from dialsum.training.metrics import TrainMetrics

    logged = dict(loss=2.0, grad_norm=1.5, learning_rate=1e-4, step=1, epoch=0.5, num_input_tokens_seen=7)
    evaluation = dict(eval_loss=2.0, eval_rouge_mean=1.0, eval_runtime=3.0, eval_power=9.0, step=1, epoch=1.0)
    history = training_history(SimpleNamespace(log_history=[logged, evaluation], best_global_step=1))
    metrics = TrainMetrics.of(**history)
    assert metrics.best.to_dict() == dict(loss=2.0, rouge_mean=1.0, step=1, epoch=1.0)
    assert metrics.curve[0].to_dict() == {k: v for k, v in logged.items() if k != "num_input_tokens_seen"}


def test_the_time_left_after_a_resume_is_that_of_the_pace_since_then(monkeypatch):
    "Ten updates took a minute since the training went on at the 900th: the last ninety take nine"
    from types import SimpleNamespace

    from dialsum.training.trainer import progress_callback

    beats, clock = [], iter([0.0, 100.0, 160.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    progress = progress_callback(
        say=lambda line: None,
        beat=lambda **facts: beats.append(facts),
        first=None,
        track=lambda step, values: None,
    )
    progress.on_train_begin(None, SimpleNamespace(global_step=900), None)
    state = SimpleNamespace(global_step=910, max_steps=1000, epoch=9.1)
    progress.on_log(None, state, None, logs=dict(loss=1.0))
    assert beats == [dict(done=910, total=1000, left=540.0)]


def test_facts_refuse_what_is_not_finite_by_name(tmp_path):
    from dialsum.runs.files import to_json
    from dialsum.runs.folders import new_run
    from dialsum.runs.parameters import complete
    from dialsum.runs.stage import Stage

    run = new_run("nan", {}, tmp_path)
    stage = Stage("train", complete("train", dict(run=str(run))), "kobart")
    for number in (math.nan, math.inf, -math.inf):
        sentence = rf"^metrics.evaluations\[1\].loss is {number}: a finite number was expected"
        with pytest.raises(DialsumError, match=sentence):
            stage.record(dict(evaluations=[dict(loss=2.0), dict(loss=number)]))
    assert not list(run.rglob("train.json"))
    assert stage.record(dict(best=None)).metrics.to_dict() == dict(best=None)
    with pytest.raises(DialsumError, match="^the value is nan"):
        to_json(math.nan)
    with pytest.raises(DialsumError, match="^left is inf"):
        stage.beat(done=0, total=2, left=math.inf)


def test_a_cell_of_a_table_that_holds_nothing_is_none():
    import pandas as pd

    from dialsum.runs.files import to_json, to_records

    table = pd.DataFrame([dict(system="one", mean=2.0), dict(system="two", mean=3.0, p=0.5)])
    assert to_records(table) == [dict(system="one", mean=2.0, p=None), dict(system="two", mean=3.0, p=0.5)]
    to_json(to_records(table))


@pytest.mark.parametrize(
    ("count", "remedy", "other"),
    [
        (1, "--epochs", "--learning-rate"),
        (19, "--epochs", "--learning-rate"),
        (20, "--learning-rate", "--epochs"),
    ],
)
def test_after_few_updates_another_rate_is_not_advised(count, remedy, other):
    from dialsum.report.verdicts import advise, judge_training
    from dialsum.scores.metrics import FaultCounts
    from dialsum.training.metrics import TrainMetrics

    verdicts = judge_training(TrainMetrics.of(dev_loss_before=8.2, best=dict(loss=8.2)))
    told = " ".join(
        advice.action
        for advice, _ in advise({"m": verdicts}, {"m": FaultCounts()}, {"m": dict(updates=count)})
    )
    assert remedy in told and other not in told


def test_every_batch_of_dev_rows_begins_the_first_steps_time_anew():
    "However many rows there are, measuring them before the first step is no step that hangs"
    from dialsum.runs.time_limits import Deadline
    from dialsum.training.trainer import progress_callback

    begun = []

    class Watched(Deadline):
        def _after(self, seconds, call):
            begun.append(seconds)
            super()._after(seconds, call)

    with Watched(lambda *failure: None, "the first step", 600, "--first-step-timeout") as first:
        progress = progress_callback(lambda line: None, lambda **facts: None, first, lambda *logged: None)
        for _ in range(3):
            progress.on_prediction_step(None, None, None)
        assert begun == [600] * 4
        progress.on_step_end(None, None, None)
        progress.on_prediction_step(None, None, None)  # of a later epoch: the limit is over
        assert begun == [600] * 4
