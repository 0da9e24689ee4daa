"A run folder that is moved, and weights that lie elsewhere: what counts is what is in them"

import shutil
import subprocess
import sys
import time

import pytest
from support.moved import NEW, moved, weights  # noqa: F401

from dialsum.models.cards import card
from dialsum.models.replicas import replica


@pytest.mark.slow
def test_an_experiment_that_is_killed_and_moved_ends_as_an_undisturbed_one(dialsum, env, tmp_path):
    from dialsum.runs.facts import read_fact
    from dialsum.runs.files import sha256

    small = ["--scale", "replica", "--epochs", "3", "--debug", "--max-new-tokens", "8", "--no-rehearse"]
    weights = shutil.copytree(replica(card("kobart")), tmp_path / "weights")

    def folders(top):
        return ["--runs", top / "runs", "--reports", top / "reports"]

    def run_of(top):
        return next((top / "runs").iterdir())

    done = dialsum("run", *small, "--checkpoint", weights, *folders(tmp_path / "whole"))
    assert done.returncode == 0, done.stderr
    call = "import sys; from dialsum.cli import main; sys.exit(main())"
    words = ["run", *small, "--checkpoint", weights, *folders(tmp_path / "torn")]
    silent = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    driver = subprocess.Popen([sys.executable, "-P", "-c", call, *map(str, words)], env=env, **silent)
    saved = "runs/*/kobart/checkpoints/*/checkpoint-*/trainer_state.json"
    while driver.poll() is None and not list((tmp_path / "torn").glob(saved)):
        time.sleep(0.01)
    driver.kill()
    driver.wait()
    time.sleep(2)  # what it had started ends by itself
    top = moved(tmp_path / "torn", tmp_path / NEW)
    elsewhere = moved(weights, tmp_path / "다른 곳" / "weights")
    done = dialsum("resume", run_of(top), "--checkpoint", elsewhere, "--reports", top / "reports")
    assert done.returncode == 0, done.stderr
    one, other = run_of(tmp_path / "whole"), run_of(top)
    assert sha256(one / "kobart" / "model") == sha256(other / "kobart" / "model")
    assert (one / "submission.csv").read_bytes() == (other / "submission.csv").read_bytes()
    curves = [read_fact(run / "kobart" / "train.json").metrics.curve for run in (one, other)]
    assert curves[0] == curves[1] and "going on from" in (other / "kobart" / "train.log").read_text()
