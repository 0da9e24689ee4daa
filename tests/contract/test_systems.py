"Beyond one model: what an ensemble and an API do with what they are given, and what is refused"

import json
import os
import shlex
import subprocess
import sys

import pandas as pd
import pytest
from support.experiments import TYPED

from dialsum.api.stand_in_server import stand_in
from dialsum.pipeline.examples import example_predictions
from dialsum.pipeline.members import member_predictions
from dialsum.pipeline.process import run_stage
from dialsum.pipeline.spec import StageSpec
from dialsum.runs.error_facts import error_sentence
from dialsum.runs.errors import DialsumError
from dialsum.runs.facts import make_fact, write_fact
from dialsum.runs.folders import new_run

KEY = "sk-never-to-be-seen-0123456789"


SMALL = [
    "--models",
    "kobart",
    "solar",
    "--scale",
    "replica",
    "--debug",
    "--epochs",
    "2",
    "--max-new-tokens",
    "16",
    "--no-rehearse",
]


def equals(tmp_path, folds=0):
    "A run folder with two models whose predictions are worn references: neither is weak"
    return example_predictions(("kobart", "qwen3-4b"), folds, tmp_path)


@pytest.mark.slow
def test_stacking_is_learned_from_the_folds_and_goes_on(tmp_path):
    run = equals(tmp_path, folds=2)
    fact = run_stage(StageSpec(run, "ensemble", "", dict(ensemble_strategy="stacking", k_folds=2)))
    assert fact.status == "success", fact.error
    m, written = (
        fact.metrics,
        {n: pd.read_csv(run / n / "predictions_dev.csv")["summary"] for n in ("kobart", "qwen3-4b")},
    )
    assert m.strategy == "stacking" and {s.system for s in m.metrics["rouge"].systems} == {
        "best",
        "mbr",
        "weighted_avg",
        "stacking",
    }
    taken = pd.read_csv(run / "predictions_ensemble_dev.csv")
    assert (
        len(taken) == 10
        and all(r.summary == written[r.member][r.Index] for r in taken.itertuples())
        and len(pd.read_csv(run / "predictions_ensemble_test.csv")) == 10
    )
    assert {"kobart/predictions_out_of_fold.csv", "qwen3-4b/predictions_out_of_fold.csv"} <= set(fact.inputs)


def test_an_ensemble_of_equals_goes_on_to_submission(tmp_path):
    run = equals(tmp_path)
    fact = run_stage(StageSpec(run, "ensemble"))
    assert fact.status == "success", fact.error
    m = fact.metrics
    measure = m.metrics["rouge"]
    assert {s.system for s in measure.systems} == {"best", "mbr", "weighted_avg"}
    assert measure.oracle >= max(measure.members.values())
    assert len(pd.read_csv(run / "predictions_ensemble_test.csv")) == 10
    stacking = run_stage(StageSpec(run, "ensemble", "", dict(ensemble_strategy="stacking")))
    assert stacking.status == "failed" and "--k-folds" in error_sentence(stacking.error)
    assert (
        run_stage(StageSpec(run, "ensemble", "", dict(ensemble_strategy="weighted_avg"))).metrics.strategy
        == "weighted_avg"
    )
    submitted = run_stage(StageSpec(run, "submit", "", dict(more="ensemble")))
    assert {c.model for c in submitted.metrics.candidates} == {"kobart", "qwen3-4b", "ensemble"}
    alone = run_stage(StageSpec(run, "ensemble", "", dict(models="kobart")))
    assert (
        alone.status == "blocked"
        and alone.error.kind == "optional"
        and "only 'kobart' is left" in error_sentence(alone.error)
        and (run / "predictions_ensemble_test.csv").exists()
    )
    submitted = run_stage(StageSpec(run, "submit", "", dict(more="ensemble")))  # an older choice is not its
    assert {c.model for c in submitted.metrics.candidates} == {"kobart", "qwen3-4b"}
    assert submitted.metrics.chosen == "kobart"


def test_without_a_key_nothing_starts_unless_the_api_is_optional(typed, tmp_path):
    gone = dict(UPSTAGE_API_KEY="", SOLAR_API_KEY="", SOLAR_BASE_URL="")
    done = typed("run", *SMALL, "--use-solar-api", "--runs", tmp_path / "runs", **gone)
    assert (
        done.returncode == 2
        and "UPSTAGE_API_KEY" in done.stderr
        and len(done.stderr.strip().splitlines()) == 1
        and not (tmp_path / "runs").exists()
    )
    found = typed("preflight", *SMALL[:5], "--use-solar-api", "--runs", tmp_path, "--json", **gone)
    assert found.returncode == 1 and any(
        "UPSTAGE_API_KEY" in f["what"] + f["remedy"]
        for m in json.loads(found.stdout)["models"].values()
        for f in m["findings"]
    )
    run = new_run("keyless", {}, tmp_path / "more")
    code = 'import sys; from pathlib import Path; from dialsum.pipeline.spec import StageSpec; from dialsum.pipeline.process import run_stage; f = run_stage(StageSpec(Path(sys.argv[1]), "api", "", dict(use_solar_api=True, solar_optional=True))); print(f.status, f.error.kind)'
    told = subprocess.run(
        [sys.executable, "-c", code, str(run)], env=os.environ | gone, capture_output=True, text=True
    )
    assert told.stdout.split() == ["blocked", "optional"], told.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--ensemble-strategy", "stacking"], "--k-folds"),
        (["--use-solar-api", "--prompt-strategy", "few_shots"], "few_shot"),
        (["--use-tta", "--tta-strategies", "maks"], "'mask'"),
        (["--use-tta", "--tta-num-aug", "0"], "--tta-num-aug is 0"),
        (["--length-control", "yes"], "auto"),
        (["--ensemble-strategy", "vote"], "weighted_avg"),
        (["--ensemble-strategy", "soup"], "--k-folds"),
        (["--ensemble-strategy", "mbr", "--ensemble-members", "tta"], "--use-tta"),
        (
            ["--ensemble-strategy", "mbr", "--ensemble-members", "models", "checkpoints"],
            "--keep-checkpoints 2",
        ),
        (["--keep-checkpoints", "1"], "--ensemble-strategy"),
        (["--ensemble-strategy", "mbr", "--keep-checkpoints", "1"], "checkpoints"),
        (
            [
                "--ensemble-strategy",
                "mbr",
                "--ensemble-members",
                "models",
                "checkpoints",
                "--keep-checkpoints",
                "1",
                "--epochs",
                "1",
            ],
            "--epochs",
        ),
        (["--ensemble-strategy", "mbr", "--ensemble-members", "api"], "--solar-test"),
        (["--ensemble-strategy", "mbr", "--ensemble-members", "modles"], "'models'"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_is_refused_before_anything_starts(options, words, typed, tmp_path):
    done = typed("run", *SMALL, *options, "--runs", tmp_path / "runs", UPSTAGE_API_KEY=KEY)
    assert (
        done.returncode == 2
        and words in done.stderr
        and not (tmp_path / "runs").exists()
        and KEY not in done.stderr
    )


def test_what_no_machine_here_can_do_is_refused_with_what_to_do(typed, tmp_path):
    done = typed(
        "run", *shlex.split(TYPED), "--scale", "replica", "--runs", tmp_path / "runs", SOLAR_API_KEY=KEY
    )
    assert (
        done.returncode == 2
        and "tensorrt" in done.stderr
        and "hf-bf16" in done.stderr
        and "ctranslate2" in done.stderr
        and len(done.stderr.strip().splitlines()) == 1
        and not (tmp_path / "runs").exists()
    )
    with stand_in() as url:
        found = typed(
            "preflight",
            "--models",
            "kobart",
            "--scale",
            "replica",
            "--optimize_inference",
            "--optimization_method",
            "tensorrt",
            "--runs",
            tmp_path,
            SOLAR_BASE_URL=url,
        )
    assert found.returncode == 1 and "tensorrt" in found.stdout and "hf-bf16" in found.stdout


def test_what_an_experiment_dropped_is_no_member(tmp_path):
    "The fold of an earlier, larger split has left its facts"
    from dialsum.runs.parameters import complete
    from dialsum.runs.stage import Stage

    run = new_run("fewer", {}, tmp_path, stages=["kobart/evaluate", "kobart/fold0/evaluate", "kobart/tta"])
    for fold in (None, 0, 1):
        folder = run / "kobart" if fold is None else run / "kobart" / f"fold{fold}"
        folder.mkdir(parents=True)
        (folder / "predictions_dev.csv").write_text("fname,summary\na,b\n")
        write_fact(
            run,
            folder / "evaluate.json",
            make_fact(
                run,
                "evaluate",
                "success",
                "kobart",
                fold,
                outputs={(folder / "predictions_dev.csv").relative_to(run).as_posix(): ""},
            ),
        )
    (run / "kobart" / "predictions_tta_dev.csv").write_text(
        "fname,summary\na,b\n"
    )  # of an earlier time: its fact does not name it
    write_fact(run, run / "kobart" / "tta.json", make_fact(run, "tta", "success", "kobart"))
    stage = Stage("ensemble", complete("ensemble", dict(run=str(run))))
    assert list(member_predictions(stage, "dev", "", "models, tta, folds")) == ["kobart", "kobart/fold0"]
    with pytest.raises(DialsumError, match="'models'"):
        member_predictions(stage, "dev", "", "modles")
