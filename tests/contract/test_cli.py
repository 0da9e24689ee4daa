"The command line: what it refuses, what it prints, what it writes"

import json

import pandas as pd
import pytest
from support.places import ROOT

from dialsum.models.cards import card
from dialsum.models.checkpoints import locate
from dialsum.runs.places import sample_path


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["run", "--models", "qwen-4b"], "did you mean 'qwen3-4b'"),
        (["run", "--epoch", "3"], "did you mean '--epochs'"),
        (["run", "--epochs", "3.5"], "int"),
        (["run", "--learning_rate", "-1", "--scale", "replica"], "--learning-rate"),
        (["run", "--warmup_ratio", "500", "--scale", "replica"], "--warmup-ratio"),
        (["run", "--batch_size", "-2", "--scale", "replica"], "--batch-size"),
        (["run", "--mode", "single", "--models", "all"], "one model"),
        (["run", "--num_beams", "0.5", "--scale", "replica"], "--num-beams"),
        (["run", "--top_k", "5", "--scale", "replica"], "--temperature"),
        (["run", "--test-csv", "x.csv"], "--train-csv"),
        (["run", "--workers", "-1"], "--workers"),
        (["run", "--checkpoint", "a", "--models", "all"], "MODEL="),
        (["stage", "train", "-p", "epoch", "3"], "did you mean 'epochs'"),
        (["stage", "training"], "did you mean 'train'"),
        (["stage", "train", "-p", "model", "qwen-4b"], "did you mean 'qwen3-4b'"),
        (["run", "--metric", "rogue1"], "did you mean 'rouge1'"),
        (["run", "--max-source", "5", "--scale", "replica"], "--max-source"),
        (["run", "--epochs", "inf"], "int"),
        (["run", "--weight-decay", "-5", "--scale", "replica"], "--weight-decay"),
        (["run", "--dev-fraction", "2", "--scale", "replica"], "--dev-fraction"),
        (["run", "--precision", "fp16"], "CPU"),
        (["stage", "evaluate", "-p", "run", "runs/nope"], "no run folder"),
        (["stage", "data", "-o", "no/such/out.ipynb"], "no/such"),
        (
            ["run", "--quality-threshold", "0.9", "--scale", "replica"],
            "acts only with --validate-data-quality",
        ),
        (["run", "--tta_num_aug", "5", "--scale", "replica"], "acts only with --use-tta"),
        (["run", "--augmentation_ratio", "0.5", "--scale", "replica"], "--use-augmentation"),
        (["run", "--solar_model", "x", "--scale", "replica"], "--use-solar-api"),
        (["run", "--wandb-project", "x", "--scale", "replica"], "--use-wandb"),
        (["nonsense"], "unknown command 'nonsense'"),
        (["resume", "--runs", "no/such"], "there is none yet"),
        (["report", "never-was"], "never-was"),
        (["score", "--predictions", "a.csv"], "--references"),
        (["predict", "--checkpoint", "nowhere", "--input", "x.csv", "--output", "y.csv"], "x.csv"),
    ],
)
def test_a_wrong_call_is_one_sentence_and_exit_code_2(line, words, typed):
    before = sorted((ROOT / "runs").iterdir())
    done = typed(*line)
    assert done.returncode == 2 and words in done.stderr and len(done.stderr.strip().splitlines()) == 1, (
        done.stderr
    )
    assert not done.stdout and sorted((ROOT / "runs").iterdir()) == before


def test_every_option_of_run_reaches_a_stage(tmp_path):
    from dialsum.commands.options import parser
    from dialsum.commands.request import given_parameters
    from dialsum.pipeline.plan import plan_stages
    from dialsum.runs.parameters import stage_parameters

    values = {str: "x", int: "7", float: "0.7", bool: None}
    options = {
        n: p
        for s in (
            "data",
            "train",
            "evaluate",
            "predict",
            "tta",
            "optimize",
            "folds",
            "api",
            "ensemble",
            "submit",
        )
        for n, p in stage_parameters(s).items()
        if n not in ("run", "model", "models", "scale", "checkpoint", "fold", "more", "tta_test")
    }
    for name, p in options.items():
        typed = [f"--{name.replace('_', '-')}", *([values[p.type]] if values[p.type] else [])]
        given = given_parameters(parser().parse_args(["run", *typed]))
        assert given[name] == p.convert(values[p.type] or True)
        specs = plan_stages(tmp_path, ["kobart"], given, tta=True, optimize=True)
        for s in specs:
            if (
                name in stage_parameters(s.stage)
                and name != "base"
                and (s.stage == "data" or not name.endswith(("_csv", "columns")))
            ):
                assert s.all_params[name] == given[name], (s.stage, name)


def test_score_json_is_the_contract(dialsum, tmp_path):
    refs = pd.read_csv(sample_path() / "dev.csv")
    refs[["fname", "summary"]].sample(frac=1, random_state=1).to_csv(tmp_path / "same.csv", index=False)
    done = dialsum(
        "score", "--predictions", tmp_path / "same.csv", "--references", sample_path() / "dev.csv", "--json"
    )
    told = json.loads(done.stdout)
    assert done.returncode == 0 and {
        "signature",
        "n",
        "rouge1",
        "rouge2",
        "rougeL",
        "mean",
        "null",
        "lead2",
        "warnings",
    } <= set(told)
    assert (
        told["n"] == 16
        and all(told[k] == dict(f=100, low=100, high=100) for k in ("rouge1", "rouge2", "rougeL", "mean"))
        and told["warnings"] == []
    )
    assert 0 < told["null"]["mean"]["f"] < 60 and 0 < told["lead2"]["mean"]["f"] < 60
    refs.head(15)[["fname", "summary"]].to_csv(tmp_path / "less.csv", index=False)
    done = dialsum("score", "--predictions", tmp_path / "less.csv", "--references", sample_path() / "dev.csv")
    assert done.returncode == 2 and refs["fname"].iloc[-1] in done.stderr


@pytest.mark.parametrize("name", ["kobart", pytest.param("kullm-v2", marks=pytest.mark.slow)])
def test_predict_writes_a_submission(name, dialsum, tmp_path):
    done = dialsum(
        "predict",
        "--checkpoint",
        locate(card(name), "replica"),
        "--model",
        name,
        "--input",
        sample_path() / "test.csv",
        "--output",
        tmp_path / "sub.csv",
        "--max_new_tokens",
        "6",
    )
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(tmp_path / "sub.csv", index_col=0, keep_default_na=False)
    assert list(rows["fname"]) == list(pd.read_csv(sample_path() / "test.csv")["fname"])


def test_one_stage_with_its_output_where_asked(dialsum, tmp_path):
    (tmp_path / "run").mkdir()
    done = dialsum(
        "stage", "data", "-p", "debug", "true", "-p", "run", tmp_path / "run", "-o", tmp_path / "out.ipynb"
    )
    assert (
        done.returncode == 0
        and (tmp_path / "out.ipynb").is_file()
        and json.loads((tmp_path / "run" / "data.json").read_text())["metrics"]["train"]["rows"] == 50
    ), done.stderr


def test_runs_lists_them(dialsum, tmp_path):
    from dialsum.runs.error_facts import make_error
    from dialsum.runs.facts import make_fact
    from dialsum.runs.files import to_json, write_atomic
    from dialsum.runs.folders import new_run

    run = new_run("listed", dict(models=["kobart"]), tmp_path)
    write_atomic(
        run / "data.json",
        to_json(
            make_fact(
                run,
                "data",
                "failed",
                error=make_error("user", "DialsumError", text="x"),
            )
        ),
    )
    [row] = json.loads(dialsum("runs", "--runs", tmp_path, "--json").stdout)
    assert row["experiment"] == run.name and row["failed"] == 1 and row["success"] == 0


@pytest.mark.parametrize("command", ["run", "demo", "preflight", "resume"])
@pytest.mark.parametrize("names", [[""], [","], ["", ", ,"], [" "]], ids=str)
def test_no_model_at_all_is_refused(command, names, typed, tmp_path):
    from dialsum.runs.folders import new_run

    run = (
        [new_run("single", dict(models=["kobart"], scale="replica", checkpoints={}), tmp_path)]
        if command == "resume"
        else ["--scale", "replica"]
    )
    done = typed(command, *run, "--runs", tmp_path, "--models", *names)
    assert (
        done.returncode == 2
        and "--models names no model" in done.stderr
        and len(done.stderr.strip().splitlines()) == 1
        and not done.stdout
    ), done.stderr
    assert len(list(tmp_path.iterdir())) == (command == "resume")


def test_blanks_around_a_model_s_name_are_none_of_it(typed, tmp_path, monkeypatch):
    from dialsum.models.cards import model_names

    assert model_names(["kobart, qwen3-4b", " kullm-v2 "]) == [
        card(n).name for n in ("kobart", "qwen3-4b", "kullm-v2")
    ]


@pytest.mark.parametrize(
    "checkpoint", ["/nowhere", "./nowhere", "nowhere", "~/nowhere", "/nowhere/deeper/model"]
)
def test_predict_says_that_a_folder_is_not_there_before_it_asks_which_model_it_is(
    checkpoint, typed, tmp_path
):
    done = typed(
        "predict",
        "--checkpoint",
        checkpoint,
        "--input",
        sample_path() / "test.csv",
        "--output",
        tmp_path / "out.csv",
    )
    assert (
        done.returncode == 2
        and f"there is no folder '{checkpoint}'" in done.stderr
        and "--model" not in done.stderr
    ), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_predict_asks_which_model_a_folder_holds_that_is_there(typed, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    done = typed(
        "predict",
        "--checkpoint",
        tmp_path / "mine",
        "--input",
        sample_path() / "test.csv",
        "--output",
        tmp_path / "out.csv",
    )
    assert done.returncode == 2 and "Say it with --model" in done.stderr, done.stderr


def test_what_takes_several_values_says_so():
    from dialsum.commands.options import LISTS, plan_parameters

    known = plan_parameters()
    assert set(LISTS) == {name for name, q in known.items() if "separated by commas" in q.help}
