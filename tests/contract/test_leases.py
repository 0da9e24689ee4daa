"Leases of processes that are killed, forked or robbed of what they hold"

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dialsum.runs.errors import DialsumError
from dialsum.runs.folders import new_run
from dialsum.runs.leases import hold, holder, release

HOLD = "import sys, time; from dialsum.runs.leases import hold; hold(sys.argv[1]); print('held', flush=True); time.sleep(600)"


@pytest.fixture
def begun(env):
    "A function that starts Python code and waits for its first line"
    processes = []

    def begin(code, *words):
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", code, *map(str, words)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def test_a_killed_holder_is_seen_at_once(begun, tmp_path):
    "Even as a zombie, which nobody has waited for"
    other = begun(HOLD, tmp_path)
    with pytest.raises(DialsumError, match=f"another process \\({other.pid} on "):
        hold(tmp_path)
    other.kill()
    while ") Z " not in Path(f"/proc/{other.pid}/stat").read_text():
        time.sleep(0.01)
    assert holder(tmp_path) is None
    hold(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [".lease.2"]
    release(tmp_path)


def test_a_suspended_holder_holds(begun, tmp_path):
    "On its own machine no clock says that it is gone"
    other = begun(HOLD, tmp_path)
    other.send_signal(signal.SIGSTOP)
    os.utime(tmp_path / ".lease.1", times=(0, 0))
    assert holder(tmp_path).pid == other.pid


FORK = """
import os, sys
from dialsum.runs import leases
from dialsum.runs.errors import DialsumError
from dialsum.runs.leases import hold
hold(sys.argv[1])
pid = os.fork()
if pid == 0:
    try:
        hold(sys.argv[1])
    except DialsumError:
        hold(sys.argv[2])  # its own, with a thread of its own
        refused = leases._heart.thread.is_alive() and len(leases._heart.leases) == 1
        sys.exit(0 if refused else 1)
    sys.exit(2)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), os.listdir(sys.argv[1]), os.listdir(sys.argv[2]))
"""


def test_a_forked_process_has_no_part_in_what_its_parent_holds(call, tmp_path):
    folders = [tmp_path / "parents", tmp_path / "childs"]
    for folder in folders:
        folder.mkdir()
    done = call(sys.executable, "-P", "-W", "ignore", "-c", FORK, *folders)
    assert done.stdout == "0 ['.lease.1'] []\n", done.stdout + done.stderr
    assert [list(folder.iterdir()) for folder in folders] == [[], []]  # as processes end, they give back


STAGE = """
import os, sys, time
from dialsum.pipeline import process
from dialsum.runs import leases
leases.BEAT = 0.1

def execute(spec):
    print("held", flush=True)
    time.sleep(600)

process.execute = execute
process.child(sys.argv[1], os.getppid())
"""
DRIVER = """
import sys, time
from pathlib import Path
from dialsum.pipeline.ownership import take
from dialsum.runs import leases
leases.BEAT = 0.1
take(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("kind", ["stage", "driver"])
def test_whoever_lost_the_lease_ends(kind, begun, tmp_path):
    "Others have thought it dead, and do its work"
    run = new_run("lost", {}, tmp_path)
    spec = json.dumps(dict(run=str(run), stage="train", model="kobart", fold=None, params={}))
    process = begun(STAGE, spec) if kind == "stage" else begun(DRIVER, run)
    [lease] = run.glob(".lease.*")
    assert lease.name == (".lease.stage.kobart_train.1" if kind == "stage" else ".lease.1")
    lease.rename(lease.with_suffix(".2"))
    lease.with_suffix(".2").write_text("{}")
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1 and "does not belong to this process any more" in said, said
    assert lease.with_suffix(".2").exists()
