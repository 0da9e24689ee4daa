"""Whole experiments through what `dialsum export` writes: as a shell runs it, a SLURM that is small, and Snakemake.

They end as `dialsum run` would have ended: same weights, same predictions, same submission."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.resume import experiment, go, small, undisturbed  # noqa: F401
from support.slurm import Queue

from dialsum.pipeline.ownership import state
from dialsum.runs.events import read_events
from dialsum.runs.facts import read_fact, read_facts
from dialsum.training.saves import is_complete

CORES = max(1, (os.cpu_count() or 1) // 2)  # as each of two stages at once has them on one machine
ODD = "실험 'a' \"b\" $HOME"


@pytest.fixture
def exported(dialsum, small, tmp_path):
    "A function that exports the small experiment: (its run folder, the words that start it)"

    def exported(target, *words):
        done = dialsum(
            *("export", "--to", target, *small, "--cpus", CORES, "--json", *words),
            *("--runs", tmp_path / ODD / "runs", "--reports", tmp_path / "reports"),
        )
        assert done.returncode == 0, done.stderr
        outcome = json.loads(done.stdout)
        return Path(outcome["run"]), shlex.split(outcome["command"])

    return exported


def start(words, env, **more):
    return subprocess.run(
        words, cwd="/", env=env | more, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=1500
    )


def check_like(run, undisturbed, dialsum):
    "That an experiment is as the undisturbed one, and that nothing is left of it"
    assert state(run) == "complete", [(f.key, f.error) for f in read_facts(run) if not f.succeeded]
    for pattern in ("predictions_*.csv", "*.safetensors", "submission.csv"):
        originals = list(undisturbed.rglob(pattern))
        assert originals
        for path in originals:
            assert path.read_bytes() == (run / path.relative_to(undisturbed)).read_bytes(), path.name
    left = dialsum("resume", run)
    assert left.returncode == 0 and "everything is done" in left.stderr, left.stderr
    report = dialsum("report", run)
    assert report.returncode == 0, report.stderr


def starts(run, key):
    events = [e for e in read_events(run) if e["event"] == "start"]
    return [e for e in events if key == "/".join(filter(None, (e["model"], e["stage"])))]


@pytest.mark.slow
def test_a_shell_takes_an_experiment_from_its_first_stage_to_its_last(exported, undisturbed, dialsum, env):
    run, words = exported("sh")
    done = start(["dash", *words[1:]] if shutil.which("dash") else words, env)
    assert done.returncode == 0, done.stdout + done.stderr
    check_like(run, undisturbed, dialsum)
    again = start(words, env)
    assert again.returncode == 0 and len(starts(run, "kobart/train")) == 1, again.stderr


@pytest.mark.slow
def test_a_job_of_slurm_that_is_preempted_goes_on_where_it_was(exported, undisturbed, dialsum, env, tmp_path):
    queue = Queue(tmp_path / "slurm")
    run, words = exported("slurm")
    done = start(words, queue.environment(env))
    assert done.returncode == 0, done.stdout + done.stderr

    def has_checkpoint():
        return any(map(is_complete, (run / "kobart").rglob("checkpoint-*")))

    queue.run("kobart/train", when=has_checkpoint)
    assert queue.codes.pop("kobart/train") == [75, 0]
    assert all(codes == [0] for codes in queue.codes.values()), queue.codes
    assert len(starts(run, "kobart/train")) == 2
    log = (run / "kobart" / "train.log").read_text()
    check_like(run, undisturbed, dialsum)
    assert "checkpoint-" in log


@pytest.fixture(scope="module")
def snakemake(tmp_path_factory):
    "Snakemake in an environment of its own: words that begin a call"
    top = tmp_path_factory.mktemp("snakemake")
    subprocess.run([sys.executable, "-m", "venv", top], check=True)
    install = [top / "bin" / "python", "-m", "pip", "install", "--quiet", "snakemake"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=900)
    if done.returncode:
        pytest.skip(f"Snakemake cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
    return [str(top / "bin" / "snakemake"), "--cores", str(CORES), "--keep-going"]


@pytest.mark.slow
def test_snakemake_takes_an_experiment_from_its_first_stage_to_its_last(
    exported, undisturbed, dialsum, env, snakemake
):
    run, words = exported("snakemake")
    done = start([*snakemake, *words[words.index("--directory") :]], env)
    assert done.returncode == 0, done.stdout + done.stderr
    check_like(run, undisturbed, dialsum)
    assert not [path for path in (run / "export" / "ended").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_under_snakemake_a_failed_model_stops_no_other_and_is_tried_again(
    exported, dialsum, env, snakemake, tmp_path
):
    empty = tmp_path / "empty"
    empty.mkdir()
    run, words = exported("snakemake", "--checkpoint", f"qwen3-4b={empty}")
    for times in (1, 2):
        done = start([*snakemake, *words[words.index("--directory") :]], env)
        assert done.returncode == 1 and "jobs did not succeed" in done.stderr, done.stdout + done.stderr
        statuses = {f.key: f.status for f in read_facts(run)}
        assert statuses["qwen3-4b/train"] == "failed" and statuses["qwen3-4b/evaluate"] == "blocked"
        assert statuses["kobart/predict"] == statuses["submit"] == statuses["report"] == "success"
        assert len(starts(run, "kobart/train")) == 1
        ends = [e for e in read_events(run) if e["event"] == "end" and e["model"] == "qwen3-4b"]
        assert sum(e["stage"] == "train" for e in ends) == times
    fact = read_fact(run / "qwen3-4b" / "train.json")
    assert fact.error.kind == "preflight"


@pytest.mark.slow
def test_a_job_whose_machine_is_taken_away_leaves_no_fact(exported, env):
    run, _ = exported("sh")
    job = go(env, "job", run, "data")
    while not (run / "data.log").exists():
        assert job.poll() is None, job.communicate()
    job.terminate()
    job.terminate()
    said = job.communicate(timeout=60)[0]
    assert job.returncode == 75 and "data was ended, since its machine is taken away" in said
    assert not (run / "data.json").exists()
    assert go(env, "job", run, "data").wait(120) == 0
