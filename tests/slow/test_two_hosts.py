"""An experiment on a shared folder that another host works on: told by its name, refused, and taken over when it is gone.

The other host has a name and processes of its own (`unshare`), the same kernel and the same disk."""

import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from dialsum.pipeline.ownership import state, worker
from dialsum.runs.events import MAIN, events_file_of, read_events
from dialsum.runs.leases import LIMIT

OTHER = "other-node"
AS_OTHER = [
    *("unshare", "--uts", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"),
    *("sh", "-c", f'hostname {OTHER} && exec "$@"', "sh"),
]
SMALL = [
    "--models",
    "kobart",
    "--scale",
    "replica",
    "--epochs",
    "3",
    "--debug",
    "--max-new-tokens",
    "12",
    "--no-rehearse",
    "--name",
    "shared",
]


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


def wait_until(happened, process):
    end = time.monotonic() + 900
    while not happened():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.1)


def make_silent(run, seconds):
    "As if the last sign of life had been given so long ago"
    for lease in run.rglob(".lease*"):
        last_sign = time.time() - seconds
        os.utime(lease, (last_sign, last_sign))


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def starts(events):
    return [(e["host"], e["stage"]) for e in events if e["event"] == "start"]


def test_a_run_of_another_host_is_told_refused_and_taken_over(shared_run, other_host, dialsum):
    run, words = shared_run
    other = other_host(words)
    wait_until(lambda: next(run.glob("kobart/checkpoints/*/checkpoint-*/trainer_state.json"), None), other)
    assert worker(run).host == OTHER and worker(run).elsewhere

    shown = dialsum("runs", "--runs", run.parent)
    assert f"on {OTHER} (process " in " ".join(shown.stdout.split()), shown.stdout + shown.stderr
    refused = dialsum("resume", run)
    [sentence] = refused.stderr.strip().splitlines()
    assert refused.returncode and OTHER in sentence and sentence.startswith("dialsum: "), refused.stderr
    assert other.poll() is None and not (run / MAIN).exists()

    other.send_signal(signal.SIGKILL)
    other.wait()
    make_silent(run, 1)
    assert state(run) == "running"  # for all that can be known here
    make_silent(run, LIMIT + 1)
    assert state(run) != "running"
    resumed = dialsum("resume", run, "--json")
    assert resumed.returncode == 0 and state(run) == "complete", resumed.stderr

    own_file, other_file = lines_of(run / MAIN), lines_of(run / events_file_of(OTHER))
    assert {host for host, _ in starts(other_file)} == {OTHER}
    assert {host for host, _ in starts(own_file)} == {platform.node()}
    assert (OTHER, "train") in starts(other_file) and (platform.node(), "train") in starts(own_file)
    merged = read_events(run)
    assert len(merged) == len(own_file) + len(other_file)
    times = [e["time"] for e in merged]
    assert times == sorted(times)
