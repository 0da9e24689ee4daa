"A stage that ends in whatever way leaves its fact, its notebook, and nothing else"

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dialsum.runs.error_facts import error_sentence
from dialsum.runs.facts import read_fact


def can_mount():
    return (
        subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode == 0
        if shutil.which("unshare")
        else False
    )


@pytest.mark.slow
@pytest.mark.skipif(
    not can_mount(), reason="needs a mount namespace (`unshare -rm`) for a disk of four megabytes"
)
def test_a_full_disk_loses_nothing_and_with_room_again_it_goes_on(env, tmp_path):
    dialsum = f"{sys.executable} -P -c 'import sys; from dialsum.cli import main; sys.exit(main())'"
    run = "run --models kobart qwen3-4b --scale replica --debug --epochs 1 --max-new-tokens 8 --no-rehearse --name x --runs disk/runs --reports disk/reports"
    script = f"""mkdir disk kept; mount -t tmpfs -o size=4m tmpfs disk
{dialsum} {run}; echo first $?; cp -r disk/runs kept/full; mount -o remount,size=400m disk
{dialsum} resume disk/runs/*_x; echo second $?; cp -r disk/runs kept/room
mount -o remount,ro disk; {dialsum} {run}; echo third $?"""
    done = subprocess.run(
        ["unshare", "-rm", "bash", "-c", script],
        cwd=tmp_path,
        env=env
        | dict(DIALSUM_CACHE=os.environ.get("DIALSUM_CACHE", str(Path.home() / ".cache" / "dialsum"))),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    said = done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.split()[0] in ("first", "second", "third")] == [
        "first 1",
        "second 0",
        "third 2",
    ], said
    assert "cannot write to the folder" in said
    [full], [room] = ((tmp_path / "kept" / name).iterdir() for name in ("full", "room"))
    failed = [read_fact(p) for p in full.glob("*/train.json")]
    assert len(failed) == 2 and all(
        f.status == "failed"
        and f.error.kind == "exception"
        and re.search("No space left|not enough space|disk is full", error_sentence(f.error))
        for f in failed
    ), [f and f.error for f in failed]  # of each its own cause
    assert all(
        json.loads(p.read_text(encoding="utf-8"))
        for p in full.rglob("*.json")
        if "checkpoints" not in p.parts
    )  # whole, each of them
    assert {p.relative_to(room).as_posix() for p in room.glob("*/predictions_*.csv")} == {
        f"{m}/predictions_{part}.csv" for m in ("kobart", "qwen3-4b") for part in ("dev", "test")
    }
    assert {c["model"] for c in read_fact(room / "submit.json").metrics.candidates} == {
        "kobart",
        "qwen3-4b",
    }  # who failed before is chosen among, too
    assert not [p for p in room.rglob("*") if ".tmp" in p.name]
