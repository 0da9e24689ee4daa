"A kernel that is killed for real; then `resume --advice --yes`, until the experiment is whole"

import json
import shutil
import signal
import time

import psutil
import pytest
from support.resume import go

from dialsum.pipeline.ownership import state
from dialsum.runs.attempts import failed_attempts
from dialsum.runs.events import read_events
from dialsum.runs.facts import read_fact

OPTIONS = [
    *("run", "--models", "kobart", "--scale", "replica", "--epochs", "8", "--early-stopping-patience", "0"),
    *("--debug", "--max-new-tokens", "8", "--no-rehearse", "--workers", "2", "--cold", "--name", "advised"),
]


def trains(runs, before):  # whether a training of the only run has begun, after so many events
    for run in runs.glob("*"):
        events = read_events(run)[before:]
        return any(e["event"] == "beat" and e.get("stage") == "train" for e in events)
    return False


def kernels(driver):  # of its stages
    found = []
    for process in psutil.Process(driver.pid).children(recursive=True):
        try:
            if any("ipykernel_launcher" in word for word in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def kill_training(driver, runs, before=0):
    "Kill the kernel of the training, once it has begun to train, and wait for the driver; what it said"
    while driver.poll() is None:
        if trains(runs, before):
            for process in kernels(driver):
                process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.02)
    said = driver.communicate()[0]
    assert driver.returncode == 1, said
    return said


@pytest.fixture(scope="module")
def killed(env, tmp_path_factory):
    "An experiment whose training was killed; it is to be left as it is"
    top = tmp_path_factory.mktemp("killed")
    driver = go(env, *OPTIONS, "--runs", top / "runs", "--reports", top / "reports")
    said = kill_training(driver, top / "runs")
    [run] = (top / "runs").iterdir()
    assert read_fact(run / "kobart" / "train.json").error.kind == "died", said
    return run


@pytest.fixture
def copied(killed, tmp_path):
    return shutil.copytree(killed, tmp_path / "runs" / killed.name)


def trainings(run):  # that have failed
    return [attempt for attempt in failed_attempts(run) if attempt.fact.stage == "train"]


def advised(run):
    return [e["options"] for e in read_events(run) if e["event"] == "advice"]


def test_the_advice_is_followed_until_the_experiment_is_whole(copied, dialsum):
    for _ in range(3):
        done = dialsum("resume", copied, "--advice", "--yes")
        if state(copied) == "complete":
            break
    assert done.returncode == 0 and state(copied) == "complete", done.stdout + done.stderr
    assert advised(copied) == ["--workers 1"] and "again with `--workers 1`" in done.stderr
    former = trainings(copied)[0]
    assert len(trainings(copied)) == 1 and former.path.parent == copied / "errors"
    later = shutil.copytree(copied, copied.with_name("99999999_later"))
    shutil.copy(former.path, later / "kobart" / "train.json")
    [group] = json.loads(dialsum("diagnose", later, "--json").stdout)
    assert any("--workers 2 → 1" in text for text in group["seen"])


def test_a_failure_that_comes_back_is_not_tried_again(copied, env, dialsum):
    driver = go(env, "resume", copied, "--advice", "--yes", "--cold")
    said = kill_training(driver, copied.parent, len(read_events(copied)))
    assert advised(copied) == ["--workers 1"], said
    for _ in range(2):
        done = dialsum("resume", copied, "--advice", "--yes")
        assert done.returncode == 1 and "stop: `--workers 1` was tried" in done.stderr, done.stderr
    assert advised(copied) == ["--workers 1"] and len(trainings(copied)) == 2
    assert state(copied) == "ended"
