"""An experiment on a shared folder that another host works on: told by its name, refused, and taken over when it is gone.

The other host has a name and processes of its own (`unshare`), the same kernel and the same disk. Its training stands
still while it is asked about, so that it cannot be over before."""

import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from dialsum.pipeline.ownership import state, worker
from dialsum.runs.events import MAIN, events_file_of, read_events
from dialsum.runs.leases import LIMIT

OTHER = "other-node"
AS_OTHER = [
    *("unshare", "--uts", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"),
    *("sh", "-c", f'hostname {OTHER} && exec "$@"', "sh"),
]
EPOCHS = 8  # of which one is over when the training is stopped
OPTIONS = f"--models kobart --scale replica --epochs {EPOCHS} --early-stopping-patience 0 --debug"
SMALL = [*OPTIONS.split(), *("--max-new-tokens", "12", "--no-rehearse", "--name", "shared")]


def refusal():
    "Why no second host can be had here; empty where it can"
    if not shutil.which("unshare"):
        return "needs `unshare`"
    tried = subprocess.run([*AS_OTHER, "hostname"], capture_output=True, text=True)
    return "" if tried.stdout == f"{OTHER}\n" else f"needs a host name of its own: {tried.stderr.strip()}"


pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not := refusal()), reason=why_not)]


@pytest.fixture
def shared_run(dialsum, tmp_path):
    "(a run folder that nothing has run in, the words that start it)"
    folders = ("--runs", tmp_path / "runs", "--reports", tmp_path / "reports")
    done = dialsum("export", "--to", "sh", *SMALL, "--json", *folders)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    return Path(outcome["run"]), shlex.split(outcome["command"])


@pytest.fixture
def other_host(env):
    "A function that starts words on the other host"
    begun = []

    def start(words):
        null = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        begun.append(subprocess.Popen([*AS_OTHER, *words], env=env, **null))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait()


def training_over(run):
    return (run / "kobart" / "train.json").exists()


def wait_for_checkpoint(run, process):
    end = time.monotonic() + 900
    while not next(run.glob("kobart/checkpoints/*/checkpoint-*/trainer_state.json"), None):
        assert not training_over(run), "the training was over before a checkpoint of it was seen"
        assert process.poll() is None, "the other host's process ended before a checkpoint was written"
        assert time.monotonic() < end, "no checkpoint was written within a quarter of an hour"
        time.sleep(0.05)


def hold_still(other):
    "Stop the kernel that trains on the other host; whoever has started it goes on giving signs of life"
    started = psutil.Process(other.pid).children(recursive=True)
    [kernel] = [process for process in started if not process.children()]
    kernel.send_signal(signal.SIGSTOP)
    while kernel.status() != psutil.STATUS_STOPPED:
        time.sleep(0.05)


def make_silent(run, seconds):
    "As if the last sign of life had been given so long ago"
    for lease in run.rglob(".lease*"):
        last_sign = time.time() - seconds
        os.utime(lease, (last_sign, last_sign))


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def epochs_of(run):
    fact = json.loads((run / "kobart" / "train.json").read_text(encoding="utf-8"))
    return [round(evaluation["epoch"]) for evaluation in fact["metrics"]["evaluations"]]


def starts(events):
    return [(e["host"], e["stage"]) for e in events if e["event"] == "start"]


def test_a_run_of_another_host_is_told_refused_and_taken_over(shared_run, other_host, dialsum):
    run, words = shared_run
    other = other_host(words)
    wait_for_checkpoint(run, other)
    hold_still(other)
    assert not training_over(run), f"{EPOCHS} epochs were over before the training was stopped: take more"
    assert worker(run).host == OTHER and worker(run).elsewhere

    shown = dialsum("runs", "--runs", run.parent)
    assert f"on {OTHER} (process " in " ".join(shown.stdout.split()), shown.stdout + shown.stderr
    refused = dialsum("resume", run)
    [sentence] = refused.stderr.strip().splitlines()
    assert refused.returncode and OTHER in sentence and sentence.startswith("dialsum: "), refused.stderr
    assert other.poll() is None and not (run / MAIN).exists() and not training_over(run)

    other.send_signal(signal.SIGKILL)
    other.wait()
    make_silent(run, 1)
    assert state(run) == "running"  # for all that can be known here
    make_silent(run, LIMIT + 1)
    assert state(run) != "running"
    resumed = dialsum("resume", run, "--json")
    assert resumed.returncode == 0 and state(run) == "complete", resumed.stderr
    assert epochs_of(run) == [*range(1, EPOCHS + 1)]

    own_file, other_file = lines_of(run / MAIN), lines_of(run / events_file_of(OTHER))
    assert {host for host, _ in starts(other_file)} == {OTHER}
    assert {host for host, _ in starts(own_file)} == {platform.node()}
    assert (OTHER, "train") in starts(other_file) and (platform.node(), "train") in starts(own_file)
    merged = read_events(run)
    assert len(merged) == len(own_file) + len(other_file)
    times = [e["time"] for e in merged]
    assert times == sorted(times)
