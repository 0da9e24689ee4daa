"What the tests of resume share"

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from dialsum.runs.facts import read_facts

TIMES = {"seconds", "train_seconds", "evaluation_seconds", "rows_per_second", "peak_memory"}
CALL = [sys.executable, "-P", "-c", "import sys; from dialsum.cli import main; sys.exit(main())"]


def go(env, *words):
    "A command of dialsum, begun"
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


def single_model_options(top, **more):
    "What experiment.json keeps of a `dialsum run` of one replica, reports in `top`"
    return (
        dict(
            command="dialsum run",
            mode="single",
            models=["kobart"],
            scale="replica",
            workers=1,
            checkpoints={},
            reports=str(top / "reports"),
            rehearse=False,
            use_tta=False,
            optimize_inference=False,
        )
        | more
    )


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


def same(value):
    return (
        {k: same(v) for k, v in value.items() if k not in TIMES}
        if isinstance(value, dict)
        else [same(v) for v in value]
        if isinstance(value, list)
        else value
    )


def measured(run):
    "What each stage of an experiment but the report has found, whatever time it took"
    return {f.key: (f.status, same(f.metrics.to_dict())) for f in read_facts(run) if f.stage != "report"}


def assert_same_outcome(run, undisturbed):
    "Predictions, weights and metrics of an experiment are those of another one"
    for pattern in ("predictions_*.csv", "submission.csv", "*.safetensors"):
        for path in undisturbed.rglob(pattern):
            assert path.read_bytes() == (run / path.relative_to(undisturbed)).read_bytes(), path
    assert measured(run) == measured(undisturbed)
