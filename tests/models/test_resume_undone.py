"What a resume asks anew of rows that were made, and what it says of the time that is left"

import re
import shutil

import pandas as pd
import pytest
from support.resume import single_model_options

from dialsum.augment.prepare import at_hand, check_data, prepare_rows
from dialsum.pipeline.plan import plan_stages
from dialsum.pipeline.process import run_stage
from dialsum.pipeline.scheduler import run_plan
from dialsum.pipeline.spec import StageSpec
from dialsum.pipeline.status import due, time_left
from dialsum.runs.errors import DialsumError
from dialsum.runs.events import log_event, read_events
from dialsum.runs.facts import experiment_record, read_fact
from dialsum.runs.files import write_atomic
from dialsum.runs.folders import new_run
from dialsum.runs.leases import release
from dialsum.runs.parameters import stage_parameters
from dialsum.runs.places import sample_path
from dialsum.runs.stage import Stage

ROWS = dict(train=16, dev=4, test=4)
MENDED = dict(clean_data=True, validate_data_quality=True, quality_threshold=0.5, quality_action="drop")


def sources(folder, parts, names=None):
    "The sample's first rows as a user's own files, under other names of the columns where `names` says so"
    folder.mkdir(parents=True)
    for part in parts:
        rows = pd.read_csv(sample_path() / f"{part}.csv", dtype=str, keep_default_na=False).head(ROWS[part])
        rows.rename(columns=names or {}).to_csv(folder / f"{part}.csv", index=False)
    return {f"{part}_csv": str(folder / f"{part}.csv") for part in parts}


def killed(top, parts=("train", "test"), names=None, use_tta=False, **more):
    "An experiment that ended behind its data stage, and whose sources are away now"
    options = sources(top / "sources", parts, names) | more
    told = single_model_options(top, use_tta=use_tta)
    run = new_run("small", told | options, top / "runs", data={}, stages=[])
    of_data = {name: value for name, value in options.items() if name in stage_parameters("data")}
    stage = Stage("data", StageSpec(run, "data", "", of_data).all_params)
    prepare_rows(stage)
    stage.record({}, [run / "data"])
    release(run)
    shutil.rmtree(top / "sources")
    (top / "reports").mkdir()
    return run, options


@pytest.fixture
def planned(monkeypatch):
    "What `resume` would execute: the plan and what else it is told are kept, and nothing is executed"
    plans = []

    def keep(*given, **more):
        plans.append(given)
        raise DialsumError("far enough")

    monkeypatch.setattr("dialsum.commands.experiments.run_plan", keep)
    return plans


@pytest.mark.parametrize(
    "asked",
    [
        dict(dev_fraction=0.2),
        dict(names=dict(fname="id", dialogue="talk"), columns="fname=id,dialogue=talk"),
        dict(parts=("train",), dev_fraction=0.2),
        dict(parts=("train", "dev", "test"), k_folds=4, fold_seed=3),
        dict(
            parts=("train", "dev", "test"),
            use_augmentation=True,
            augmentation_methods="synonym",
            augmentation_ratio=1.0,
        ),
        dict(parts=("train", "dev", "test"), debug=True),
        MENDED,
        MENDED | dict(dev_fraction=0.2, use_augmentation=True, augmentation_ratio=0.5, k_folds=2, debug=True),
        dict(
            parts=("train", "dev", "test"),
            use_tta=True,
            tta_strategies="paraphrase",
            augmentation_backend="http://127.0.0.1:9/v1",
            augmentation_model="a",
        ),
    ],
    ids=lambda asked: "-".join(asked),
)
def test_a_resume_asks_nothing_anew_of_rows_that_are_made(asked, tmp_path, typed, planned):
    run, options = killed(tmp_path, **asked)
    done = typed("resume", run)
    assert "far enough" in done.stderr and planned, done.stderr
    assert "data" not in experiment_record(run).attempts[-1].left
    made = check_data(
        {name: value for name, value in at_hand(run, options).items() if name in stage_parameters("data")}
    )[0]
    for part, rows in made.items():
        written = pd.read_csv(run / "data" / f"{part}.csv", dtype=str, keep_default_na=False)
        assert list(rows["fname"]) == list(written["fname"])  # the very rows


def test_what_is_typed_for_rows_that_are_made_is_not_passed_over(tmp_path, typed, planned):
    run, _ = killed(tmp_path, dev_fraction=0.2)
    done = typed("resume", run, "--dev-fraction", "0.4")
    assert done.returncode == 2 and "dev_fraction was 0.2, now 0.4" in done.stderr and not planned, (
        done.stderr
    )


def finished(top):
    "An experiment whose every stage has succeeded, each in nine minutes"
    run = new_run(
        "small",
        single_model_options(top),
        top / "runs",
        data={},
        stages=[],
    )
    options = dict(scale="replica", reports=str(top / "reports"))
    for spec in plan_stages(run, ["kobart"], options, rehearse=False):
        stage = Stage(spec.stage, spec.all_params, spec.model)
        made = write_atomic(stage.folder / f"{spec.stage}.txt", "as it was")
        stage.record({}, [made])
        log_event(run, "end", **spec.key_fields, status="success", seconds=540)
        release(stage.folder)
    release(run)
    (top / "reports").mkdir()
    return run


ALL = {"preflight", "kobart/train", "kobart/evaluate", "kobart/predict", "submit", "report"}


def output_away(run, monkeypatch):
    (run / "kobart" / "train.txt").unlink()


def output_changed(run, monkeypatch):
    (run / "kobart" / "train.txt").write_text("as somebody likes it")


def notebook_changed(run, monkeypatch):
    monkeypatch.setattr(
        "dialsum.pipeline.done.stage_identity",
        lambda stage, *_: (
            "another"
            if stage == "train"
            else read_fact(
                run / ("kobart" if stage in ("evaluate", "predict") else "") / f"{stage}.json"
            ).identity
        ),
    )


@pytest.mark.parametrize(
    "change", [output_away, output_changed, notebook_changed], ids=lambda change: change.__name__
)
def test_a_resume_knows_what_runs_again_and_how_long_that_takes(
    change, tmp_path, typed, planned, monkeypatch
):
    run = finished(tmp_path)
    change(run, monkeypatch)
    typed("resume", run)
    specs, _workers, undone = planned[0][0], planned[0][1], planned[0][5]
    awaited = due(specs, undone)
    assert set(awaited) == ALL
    log_event(run, "open")
    assert str(time_left(read_events(run), awaited)) == f"about {540 * len(ALL)} s left"


def test_strict_lets_everything_run_again(tmp_path, typed, planned, monkeypatch):
    run = finished(tmp_path)
    monkeypatch.setattr("dialsum.pipeline.done.current_environment", lambda: dict(package_code="another"))
    typed("resume", run, "--strict")
    assert set(due(planned[0][0], planned[0][5])) == ALL | {"data"}


@pytest.mark.slow
def test_a_plan_that_is_told_nothing_finds_it_when_the_stage_begins(tmp_path):
    "A data stage whose rows are away runs, and then what is made of them is awaited"
    run, lines = new_run("small", {}, tmp_path), []
    rows = StageSpec(run, "data", "", dict(debug=True))
    run_stage(rows)
    after = StageSpec(run, "submit", "", {}, after=("data",))
    Stage("submit", after.all_params).record({})
    release(run)
    log_event(run, "end", **after.key_fields, status="success", seconds=540)
    (run / "data" / "train.csv").unlink()
    run_plan([rows, after], workers=1, say=lines.append)
    [of_rows] = [line for line in lines if re.match(r"\[ *1/2\] data", line)]
    assert "about 540 s left" in of_rows, lines


@pytest.mark.parametrize(
    "heard",
    [
        [],
        [
            dict(
                event="beat",
                stage="train",
                model="kobart",
                fold=None,
                done=9,
                total=9,
                left=0.0,
                time="2026-01-01T00:09:00.000+00:00",
            )
        ],
    ],
)
def test_while_a_stage_runs_it_is_never_said_that_nothing_is_left(heard, tmp_path):
    happened = [
        dict(event="end", stage="train", model="kobart", fold=0, status="success", seconds=5),
        dict(event="open"),
        dict(event="start", stage="train", model="kobart", fold=None, time="2026-01-01T00:00:00.000+00:00"),
        *heard,
    ]
    assert str(time_left(happened, ["kobart/train"])) == ""
    assert str(time_left(happened, ["kobart/train", "kobart/fold1/train"])) == (
        "about 5 s left" if heard else "at least 5 s left"
    )
