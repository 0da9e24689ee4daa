"A stage that ends in whatever way leaves its fact, its notebook, and nothing else"

import json
import os
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import nbformat
import psutil
import pytest

from dialsum.pipeline import execution
from dialsum.pipeline.failed_stage import note_in_notebook
from dialsum.pipeline.spec import StageSpec
from dialsum.runs.control_groups import oom_kills
from dialsum.runs.error_facts import error_sentence
from dialsum.runs.errors import RECORD
from dialsum.runs.facts import read_fact
from dialsum.runs.folders import new_run

PROBE = {
    "raise": ("raise RuntimeError('boom')", "failed", "exception", "boom"),
    "exit": ("import sys; sys.exit(3)", "failed", "exception", "3"),
    "quiet exit": ("import sys; sys.exit(0)", "failed", "died", "without writing its facts"),
    "segfault": ("import ctypes; ctypes.string_at(0)", "failed", "died", "kernel died"),
    "killed": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "failed", "died", "kernel died"),
    "hang": (
        'import subprocess, time; subprocess.Popen(["sleep", "500"]); time.sleep(500)',
        "failed",
        "timeout",
        "its limit of 20 s",
    ),
    "chatty": ("for i in range(100): print('x'*10**6)", "success", None, None),
}


@pytest.fixture(scope="module")
def probe(checkout):
    "One more stage in the copy, whose middle cell does what a test wants"

    def stage(code):
        def cell(source, **metadata):
            return dict(
                cell_type="code",
                metadata=metadata,
                source=source,
                outputs=[],
                execution_count=None,
                id=f"c{len(source)}",
            )

        cells = [
            cell("run: str = ''  # run folder\nseed: int = 1  # of nothing", tags=["parameters"]),
            cell("from dialsum.runs.stage import begin\nstage = begin('probe', globals())"),
            cell(code),
            cell("fact = stage.record(dict(done=True))"),
        ]
        (checkout / "nbs" / "probe.ipynb").write_text(
            json.dumps(
                dict(
                    cells=cells,
                    metadata=dict(kernelspec=dict(name="python3", display_name="x", language="python")),
                    nbformat=4,
                    nbformat_minor=5,
                )
            )
        )

    yield stage
    (checkout / "nbs" / "probe.ipynb").unlink(missing_ok=True)


# the same from a process of their own, which takes seconds to import
STARTS = ["forked", pytest.param("cold", marks=pytest.mark.slow)]

RUN_PROBES = """
import sys
from pathlib import Path
from dialsum.pipeline.scheduler import run_plan
from dialsum.pipeline.spec import StageSpec
from dialsum.runs.folders import new_run

folder, count, timeout, start = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
runs = [new_run("probe", {}, folder) for _ in range(count)]
run_plan([StageSpec(run, "probe") for run in runs], timeout=timeout, cold=start == "cold")
"""


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("how", PROBE)
def test_however_a_stage_ends_its_fact_tells(how, start, probe, call, tmp_path):
    code, status, kind, words = PROBE[how]
    seconds = f"500.{os.getpid()}"  # what other tests start beside this one sleeps for another time
    probe(code.replace("500", seconds))
    done = call(sys.executable, "-P", "-c", RUN_PROBES, tmp_path, 1, 20 if how == "hang" else 600, start)
    assert done.returncode == 0, done.stderr
    [run] = tmp_path.iterdir()
    fact, notebook = (
        read_fact(run / "probe.json"),
        json.loads((run / "probe.ipynb").read_text(encoding="utf-8")),
    )
    assert fact.status == status, fact
    if kind:
        assert fact.error.kind == kind and words in error_sentence(fact.error), fact.error
        assert (
            "".join(notebook["cells"][0]["source"]).startswith("**This stage did not succeed**")
            and (run / fact.error.traceback).is_file()
        )
    else:
        assert (
            "cut here" in json.dumps(notebook)
            and (run / "probe.ipynb").stat().st_size < 3e6
            and (run / "probe.log").stat().st_size < 3e6
        )
    assert not [
        p
        for p in psutil.process_iter(["cmdline"])
        if p.info["cmdline"] == ["sleep", seconds] or str(tmp_path) in " ".join(p.info["cmdline"] or [])
    ]
    assert {p.name for p in run.iterdir()} <= {
        "experiment.json",
        "events.jsonl",
        "probe.json",
        "probe.ipynb",
        "probe.log",
        "errors",
    }


@pytest.mark.parametrize("start", STARTS)
def test_a_kernel_reads_and_leaves_nothing_in_the_home_folder(start, probe, call, tmp_path):
    "Neither IPython's profile, with its startup files, nor a history"
    home = tmp_path / "home" / ".ipython"
    startup = home / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "mine.py").write_text("raise SystemExit('a startup file of a person')\n")
    before = sorted(home.rglob("*"))
    probe("shell = get_ipython()\nprint('kept in', shell.ipython_dir, shell.history_manager.hist_file)")
    places = dict(HOME=str(home.parent), IPYTHONDIR=str(home))
    done = call(sys.executable, "-P", "-c", RUN_PROBES, tmp_path / "runs", 1, 600, start, **places)
    assert done.returncode == 0, done.stderr
    [log] = logs_in(tmp_path / "runs")
    [folder] = re.findall(r"kept in (.*/ipython) :memory:", log)
    assert not folder.startswith(str(home.parent)) and not Path(folder).exists(), log
    assert "of a person" not in log and sorted(home.rglob("*")) == before


@pytest.mark.parametrize(("signal", "kind", "count"), [("SIGKILL", "memory", None), ("SIGSEGV", "died", 2)])
def test_a_kernel_that_linux_kills_for_want_of_memory_is_told_from_one_that_crashes(
    signal, kind, count, monkeypatch, tmp_path
):
    (tmp_path / "self").write_text("0::/job\n")
    (tmp_path / "job").mkdir()
    events = tmp_path / "job" / "memory.events"
    events.write_text("oom 0\noom_kill 0\n")
    monkeypatch.setattr(execution, "oom_kills", partial(oom_kills, tmp_path / "self", tmp_path))
    code = (
        f"import os, signal; open({str(events)!r}, 'w').write('oom 1\\noom_kill 1\\n'); "
        f"os.kill(os.getpid(), signal.{signal})"
    )
    cells = [nbformat.v4.new_code_cell(source) for source in ("1", code, "2")]
    kernel = dict(name="python3", display_name="x", language="python")
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=dict(kernelspec=kernel))
    nbformat.write(notebook, tmp_path / "killed.ipynb")
    monkeypatch.setattr(execution, "stage_notebook", lambda stage: tmp_path / "killed.ipynb")
    for variable in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR", RECORD):
        monkeypatch.setenv(variable, "")  # put back afterwards
    spec = StageSpec(new_run("killed", {}, tmp_path / "runs"), "data")
    execution.execute(spec)
    error = spec.read().error
    assert (error.kind, error.frames) == (kind, [])
    assert error.diagnosis == ("memory-killed" if kind == "memory" else "kernel-died")
    assert ("ran out of memory" in error_sentence(error)) == (kind == "memory")
    path = spec.folder / "data.ipynb"
    cut = json.loads(path.read_text())
    cut["cells"][-2]["execution_count"] = count  # Jupyter's message of it may come, or come too late
    path.write_text(json.dumps(cut))
    note_in_notebook(spec, error, pytest.fail)
    cells = json.loads(path.read_text())["cells"][-3:]
    assert [cell["metadata"]["papermill"]["status"] for cell in cells] == ["completed", "failed", "pending"]


LOOK_AROUND = """
import json, os, pathlib, random, sys, threading
before = "torch" in sys.modules
import numpy, torch
seen = dict(
    imported=before,
    left=[hasattr(sys, "left_by"), "LEFT_BY" in os.environ, torch.get_default_dtype() == torch.float64],
    draws=[random.random(), numpy.random.random()],
    folder=os.getcwd(),
    path=sys.path,
    started=str(pathlib.Path(run)),
    run=os.environ["DIALSUM_RUN"],
    code=sorted(name for name in sys.modules if name.partition(".")[0] == "dialsum"),
)
sys.left_by = os.environ["LEFT_BY"] = str(os.getpid())
torch.set_default_dtype(torch.float64)
(pathlib.Path(run) / "seen.json").write_text(json.dumps(seen))
"""


@pytest.mark.slow
def test_forked_stages_share_what_is_imported_and_nothing_else(probe, call, tmp_path):
    probe(LOOK_AROUND)
    looks = {}
    for start in ("forked", "cold"):
        done = call(sys.executable, "-P", "-c", RUN_PROBES, tmp_path / start, 3, 600, start)
        assert done.returncode == 0, done.stderr
        paths = sorted((tmp_path / start).glob("*/seen.json"), key=lambda p: p.stat().st_mtime)
        looks[start] = [json.loads(p.read_text()) for p in paths]
        assert len(looks[start]) == 3, start
    assert [seen["imported"] for seen in looks["forked"][1:]] == [True, True]  # the first does not wait
    assert [seen["imported"] for seen in looks["cold"]] == [False, False, False]
    for seen in [*looks["forked"], *looks["cold"]]:
        assert seen["left"] == [False, False, False] and seen["folder"] == seen["run"] == seen["started"]
    first, second, third = looks["forked"]
    assert first["path"] == second["path"] == third["path"] == looks["cold"][0]["path"]
    assert not set(second["draws"]) & set(third["draws"])
    assert first["code"] == third["code"] == looks["cold"][0]["code"]  # read anew: a fact holds its hash


KILL_ITS_SERVER = """
import os, pathlib, signal, time, psutil
if not [*pathlib.Path(run).parent.glob('*/probe.json')]:
    os.kill(psutil.Process().parent().ppid(), signal.SIGKILL)
    time.sleep(1)
"""


def facts_in(folder):  # in the order in which the stages ended
    return [read_fact(p) for p in sorted(folder.glob("*/probe.json"), key=lambda p: p.stat().st_mtime)]


def logs_in(folder):
    return [p.read_text() for p in sorted(folder.glob("*/probe.log"), key=lambda p: p.stat().st_mtime)]


@pytest.mark.slow
def test_a_fork_server_that_is_killed_takes_no_stage_along(probe, call, tmp_path):
    "The next ones are started, and say why"
    probe(KILL_ITS_SERVER)
    done = call(sys.executable, "-P", "-c", RUN_PROBES, tmp_path, 2, 600, "forked")
    assert done.returncode == 0, done.stderr
    assert [fact.status for fact in facts_in(tmp_path)] == ["success", "success"]
    assert ["no stage could be forked" in log for log in logs_in(tmp_path)] == [False, True]


@pytest.mark.slow
def test_where_importing_starts_a_thread_stages_are_started(probe, call, tmp_path, env):
    "But what was forked before goes on"
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "peft.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    probe("import time; time.sleep(1)")
    path = f"{tmp_path / 'modules'}:{env['PYTHONPATH']}"
    done = call(sys.executable, "-P", "-c", RUN_PROBES, tmp_path / "runs", 2, 600, "forked", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert [fact.status for fact in facts_in(tmp_path / "runs")] == ["success", "success"]
    assert "no stage could be forked" in logs_in(tmp_path / "runs")[1]


@pytest.mark.parametrize("start", STARTS)
def test_when_driver_and_stage_are_killed_the_kernel_ends(start, probe, env, checkout, tmp_path):
    probe(
        "import os, pathlib, time\npathlib.Path(run, 'kernel').write_text(str(os.getpid()))\ntime.sleep(500)"
    )
    words = [sys.executable, "-P", "-c", RUN_PROBES, tmp_path, 1, 600, start]
    driver = subprocess.Popen([*map(str, words)], env=env, cwd=checkout, stderr=subprocess.DEVNULL)
    try:
        while not (found := [*tmp_path.glob("*/kernel")]) or not found[0].read_text():
            assert driver.poll() is None
            time.sleep(0.1)
        kernel = psutil.Process(int(found[0].read_text()))
        stage = kernel.parent()
    finally:
        driver.kill()
    stage.kill()
    driver.wait()
    for _ in range(300):
        if not kernel.is_running() or kernel.status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    kernel.kill()
    pytest.fail("the kernel outlived its stage")


@pytest.mark.parametrize("preloaded", ["[[]]", pytest.param("PRELOADED", marks=pytest.mark.slow)])
def test_nothing_is_forked_from_a_process_with_threads_or_cuda(preloaded):
    code = (
        "import threading; from dialsum.pipeline.fork_server import PRELOADED, preload\n"
        f"print([preload(names) for names in {preloaded}])\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "print(preload([]))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() in (["[True]", "False"], ["[True, True]", "False"])


def test_a_clock_that_is_set_back():
    from dialsum.pipeline.status import progress

    events = [
        dict(time="2026-01-01T10:00:00.000+00:00", event="open"),
        dict(time="2026-01-01T10:00:01.000+00:00", event="start", stage="train", model="kobart"),
        dict(
            time="2026-01-01T09:00:00.000+00:00",
            event="beat",
            stage="train",
            model="kobart",
            done=1,
            total=4,
            left=3.0,
        ),
    ]
    p = progress(events, ["kobart/train"], "2026-01-01T09:00:05.000+00:00")["kobart/train"]
    assert (p.state, p.share, p.seconds, p.seconds_left) == ("running", 0.25, 0, 3.0)


def test_an_event_after_a_torn_line_is_not_lost(tmp_path):
    from dialsum.runs.events import log_event, read_events

    log_event(tmp_path, "open", pid=1)
    with open(tmp_path / "events.jsonl", "a") as f:
        f.write('{"event": "be')  # the power went
    log_event(tmp_path, "fact", file="a.json", sha256="x")
    assert [e["event"] for e in read_events(tmp_path)] == ["open", "fact"]
