"A run folder on another machine: its sources are not there, its path is another one, and nothing that it holds is made again"

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from support.resume import single_model_options

from dialsum.augment.prepare import prepare_rows
from dialsum.commands.display import board
from dialsum.pipeline.done import why_undone
from dialsum.pipeline.plan import plan_stages
from dialsum.pipeline.process import run_stage
from dialsum.pipeline.scheduler import run_plan
from dialsum.pipeline.spec import StageSpec
from dialsum.pipeline.status import due, time_left
from dialsum.runs.errors import DialsumError
from dialsum.runs.events import log_event
from dialsum.runs.facts import experiment_record, make_fact, write_fact
from dialsum.runs.files import sha256, write_atomic
from dialsum.runs.folders import new_run
from dialsum.runs.leases import release
from dialsum.runs.places import sample_path
from dialsum.runs.stage import Stage


def sources(folder):
    "The sample's files as a user's own, the first rows of each"
    folder.mkdir(parents=True)
    for part, rows in dict(train=12, dev=4, test=4).items():
        pd.read_csv(sample_path() / f"{part}.csv", dtype=str, keep_default_na=False).head(rows).to_csv(
            folder / f"{part}.csv", index=False
        )
    return {f"{part}_csv": str(folder / f"{part}.csv") for part in ("train", "dev", "test")}


def begun(top, **more):
    "An experiment whose data stage has run, as the command line leaves it; the rest is left"
    options = sources(top / "sources") | more
    told = single_model_options(top)
    specs = plan_stages(
        Path(), ["kobart"], options | dict(scale="replica", reports=str(top / "reports")), rehearse=False
    )
    hashes = {Path(path).name: sha256(path) for path in options.values() if str(path).endswith(".csv")}
    run = new_run("small", told | options, top / "runs", data=hashes, stages=[s.key for s in specs])
    spec = StageSpec(run, "data", "", options)
    stage = Stage("data", spec.all_params)
    prepare_rows(stage)
    stage.record({}, [run / "data"])
    release(run)  # as its process does when it ends
    (top / "reports").mkdir()
    return run


@pytest.fixture
def moved(tmp_path):
    "That experiment in a folder with blanks and Hangul, without its sources and its old place"
    run = begun(tmp_path / "first")
    there = tmp_path / "다른 기계" / "내 실험" / run.name
    there.parent.mkdir(parents=True)
    shutil.move(run, there)
    shutil.rmtree(tmp_path / "first")
    return there


@pytest.fixture
def planned(monkeypatch, tmp_path):
    "What `resume` would execute: the plan is kept, and not executed"
    plans = []

    def keep(specs, *_, **__):
        plans.append(specs)
        raise DialsumError("far enough")

    monkeypatch.setattr("dialsum.commands.experiments.run_plan", keep)
    monkeypatch.setattr("dialsum.commands.experiments.reports_path", lambda: tmp_path / "reports")
    return plans


def left(run):
    return experiment_record(run).attempts[-1].left


def test_an_experiment_goes_on_where_its_sources_are_not(moved, typed, planned):
    before = experiment_record(moved).data
    done = typed("resume", moved)
    assert "far enough" in done.stderr, done.stderr
    assert "data" not in left(moved) and "kobart/train" in left(moved)
    told = experiment_record(moved)
    assert told.data == before and {"predict", "submit"} <= {s.stage for s in planned[0]}
    assert Path(told.options["reports"]).is_dir()  # the old place is not made again
    assert not (moved.parents[2] / "first").exists()


@pytest.mark.slow
def test_its_preflight_checks_the_rows_at_hand(moved, typed, planned):
    typed("resume", moved)
    [spec] = [s for s in planned[0] if s.stage == "preflight"]
    fact = run_stage(spec)
    assert fact.status == "success" and fact.metrics.ok, fact


def test_rows_that_must_be_made_anew_need_their_sources(moved, typed, planned):
    done = typed("resume", moved, "--seed", "7")
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1 and not planned
    for word in ("seed was 42, now 7", "--train-csv", "'train.csv'", "not on this machine"):
        assert word in done.stderr
    assert not experiment_record(moved).attempts and (moved / "data" / "train.csv").is_file()


def test_sources_that_are_given_anew_and_equal_change_nothing(moved, typed, planned, tmp_path):
    anew = sources(tmp_path / "sources of this machine")
    done = typed(
        "resume", moved, *(w for n, path in anew.items() for w in (f"--{n.replace('_', '-')}", path))
    )
    assert "far enough" in done.stderr and "data" not in left(moved), done.stderr


def test_a_relative_path_that_broke_is_not_called_a_file_that_is_gone(tmp_path):
    "As older runs noted what lies outside of them"
    run = new_run("old", {}, tmp_path / "there" / "runs")
    params = StageSpec(run, "data").all_params
    write_fact(
        run,
        run / "data.json",
        make_fact(run, "data", "success", params=params, inputs={"../../sources/train.csv": "a" * 64}),
    )
    assert why_undone(StageSpec(run, "data", "", {})) is None


def test_a_finished_run_is_finished_under_another_path(tmp_path, typed, monkeypatch):
    "Every stage of a plan has succeeded; the folder is moved; nothing is left"
    run = begun(tmp_path / "first")
    asked = experiment_record(run)
    specs = plan_stages(
        run,
        ["kobart"],
        {k: v for k, v in asked.options.items() if k in ("scale", "reports") or k.endswith("_csv")},
        rehearse=False,
    )
    for spec in specs:  # as the stages would, with what each has read
        if spec.stage == "data":
            continue
        stage = Stage(spec.stage, spec.all_params, spec.model)
        stage.use(run / "data" / "train.csv")
        made = (
            write_atomic(stage.folder / "model" / "weights", "as trained") if spec.stage == "train" else None
        )
        stage.record({}, [made.parent] if made else [])
    there = tmp_path / "다른 기계" / "내 실험" / run.name
    there.parent.mkdir(parents=True)
    shutil.move(run, there)
    shutil.rmtree(tmp_path / "first")
    moved = plan_stages(
        there,
        ["kobart"],
        {k: v for k, v in asked.options.items() if k in ("scale", "reports") or k.endswith("_csv")},
        rehearse=False,
    )
    assert {s.key: why_undone(s) for s in moved} == dict.fromkeys(s.key for s in moved)


@pytest.mark.slow
def test_stages_that_are_kept_do_not_shorten_what_is_left(tmp_path):
    "Five kept in no time and one that took nine minutes before: the plan says nine minutes at each of its lines"
    run, lines = new_run("small", {}, tmp_path), []
    kept = [
        StageSpec(run, "evaluate", model)
        for model in ("kobart", "qwen3-4b", "solar-10.7b", "kullm-v2", "polyglot-ko-12.8b")
    ]
    for spec in kept:
        Stage("evaluate", spec.all_params, spec.model).record({})
    for folder in (run, *(spec.folder for spec in kept)):
        release(folder)
    rows = StageSpec(run, "data", "", dict(debug=True))
    log_event(run, "end", **rows.key_fields, status="success", seconds=540)
    ended = run_plan([*kept, rows], workers=1, say=lines.append)
    told = [line for line in lines if line.startswith("[")]
    assert {f.status for f in ended.values()} == {"success"} and len(told) == 6
    assert all(" kept " in line and re.search("about 5[34][0-9] s left", line) for line in told[:5]), told
    assert "about 0 s left" in told[5]


def test_what_a_stage_will_take_is_told_by_others_like_it():
    def end(model, stage, seconds, fold=None, status="success"):
        return dict(event="end", model=model, stage=stage, fold=fold, status=status, seconds=seconds)

    happened = [
        end("kobart", "train", 100, 0),
        end("kobart", "train", 200, 1),
        end("qwen3-4b", "train", 3000),
        end("qwen3-4b", "evaluate", 5, status="failed"),
        dict(event="open"),
        dict(event="start", stage="train", model="kobart", fold=2, time="2026-01-01T09:00:00.000+00:00"),
        dict(
            event="beat",
            stage="train",
            model="kobart",
            fold=2,
            done=1,
            total=10,
            left=77.0,
            time="2026-01-01T09:00:10.000+00:00",
        ),
    ]
    assert time_left(happened, ["kobart/fold2/train"]).seconds == 77  # as it says itself
    assert time_left(happened, ["kobart/fold3/train"]).seconds == 150  # as its model's others took
    assert time_left(happened, ["kobart/fold3/train", "kobart/fold4/train"], 2).seconds == 150
    assert time_left(happened, ["solar-10.7b/train"]).seconds == 1100  # as others took
    assert (
        str(time_left(happened, ["kobart/fold2/train", "kobart/fold2/evaluate"])) == "at least 77 s left"
    )  # what fails tells nothing
    assert str(time_left(happened, ["kobart/fold2/evaluate"])) == ""


def test_the_board_says_the_same(tmp_path):
    run = new_run("small", {}, tmp_path)
    for k in range(2):
        log_event(run, "end", stage="train", model="kobart", fold=k, status="success", seconds=540)
    log_event(run, "open")
    for k in range(2):
        log_event(run, "kept", stage="train", model="kobart", fold=k)
    shown = board(run, [f"kobart/fold{k}/train" for k in range(3)], ["kobart/fold2/train"])
    text = "\n".join(line.plain for line in shown.lines(80))
    assert "about 540 s left" in text and "2 of 3 stages" in text


def test_what_will_run_is_known_before_it_runs(moved):
    options = {
        k: v
        for k, v in experiment_record(moved).options.items()
        if k in ("scale", "train_csv", "dev_csv", "test_csv")
    }
    specs = plan_stages(moved, ["kobart"], options, rehearse=False)
    assert due(specs) == [
        "preflight",
        "kobart/train",
        "kobart/evaluate",
        "kobart/predict",
        "submit",
        "report",
    ]
    other = plan_stages(moved, ["kobart"], options | dict(seed=7), rehearse=False)
    assert "data" in due(other)
