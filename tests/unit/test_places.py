"Where a stage has run is shown where it says something: on other machines, and on GPUs of its own"

import json
import platform

from support.experiments import build, whole  # noqa: F401

from dialsum.commands.display import board
from dialsum.report.experiment import read_experiment
from dialsum.report.stage_charts import gantt
from dialsum.runs.events import log_event


def moved(run, *places):
    "Write where each stage of an experiment has run, in turn"
    for i, path in enumerate(sorted(run.glob("*/*.json"))):
        host, devices = places[i % len(places)]
        fact = json.loads(path.read_text()) | dict(host=host, devices=devices)
        path.write_text(json.dumps(fact))


def names(run):
    return {bar.title for bar in gantt(read_experiment(run)).bars}


def test_the_timeline_names_places_only_where_there_are_several(build):
    run, _ = whole(build)
    one = names(run)
    moved(run, ("node7", []))
    (run / "data.json").unlink()
    (run / "submit.json").unlink()
    assert names(run) <= one
    moved(run, ("node7", ["0"]), ("node8", []))
    assert {name.rpartition("(")[2] for name in names(run)} == {"node7 GPU 0)", "node8)"}


def test_the_board_names_other_machines_and_gpus(tmp_path):
    stage = dict(model="kobart", fold=None, attempt="1")
    log_event(tmp_path, "open")
    log_event(tmp_path, "start", stage="train", host="node7", devices=["1"], **stage)
    log_event(tmp_path, "start", stage="evaluate", host=platform.node(), devices=[], **stage)
    rows = dict(board(tmp_path, ["kobart/train", "kobart/evaluate"]).rows)
    train, evaluate = map(str, rows["kobart"])
    assert " on node7 GPU 1" in train and " on " not in evaluate


def test_what_a_stage_that_was_given_up_still_says_is_not_shown(tmp_path):
    stage = dict(stage="train", model="kobart", fold=None)
    log_event(tmp_path, "open")
    log_event(tmp_path, "start", attempt="1", host="node7", **stage)
    log_event(tmp_path, "beat", attempt="1", done=5, total=10, **stage)
    log_event(tmp_path, "lost", attempt="1", **stage)
    log_event(tmp_path, "start", attempt="2", host="node8", **stage)
    log_event(tmp_path, "beat", attempt="1", done=6, total=10, **stage)
    log_event(tmp_path, "end", attempt="1", status="failed", seconds=1, **stage)
    [(_, [train])] = board(tmp_path, ["kobart/train"]).rows
    assert str(train).startswith("▶ train 0%") and str(train).endswith(" on node8")
