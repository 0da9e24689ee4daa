"The test command: both suites run whatever the first one did, both are counted, either one's failure is a failure"

import importlib
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from support.places import ROOT


def notebook(source):
    return json.dumps(
        dict(
            cells=[
                dict(
                    cell_type="code",
                    id="a1b2c3d4",
                    metadata={},
                    source=source,
                    outputs=[],
                    execution_count=None,
                )
            ],
            metadata={},
            nbformat=4,
            nbformat_minor=5,
        )
    )


@pytest.fixture
def project(tmp_path):
    "A function that makes a project of two notebooks and a test, and runs its suites"

    def run(second_notebook="1 + 1", test="assert True"):
        for folder in (".ci", "nbs", "tests", "lib"):
            (tmp_path / folder).mkdir()
        shutil.copy(ROOT / ".ci" / "suites.py", tmp_path / ".ci")
        settings = (ROOT / "settings.ini").read_text()
        (tmp_path / "settings.ini").write_text(
            re.sub("(?m)^lib_(name|path) = dialsum$", r"lib_\1 = lib", settings)
        )
        (tmp_path / "nbs" / "first.ipynb").write_text(notebook("1 + 1"))
        (tmp_path / "nbs" / "second.ipynb").write_text(notebook(second_notebook))
        (tmp_path / "tests" / "test_one.py").write_text(f"def test_one(): {test}\n")
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        return subprocess.run(
            [sys.executable, ".ci/suites.py"],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.mark.parametrize(
    ("given", "notebooks", "tests", "code"),
    [
        ({}, "2 notebooks passed, 0 failed", "1 passed", 0),
        (dict(second_notebook="raise ValueError('x')"), "1 notebooks passed, 1 failed", "1 passed", 1),
        pytest.param(
            dict(second_notebook="import os; os._exit(3)"),
            r"\d notebooks passed, [12] failed",
            "1 passed",
            1,
            marks=pytest.mark.slow,
        ),  # the first may be running then
        pytest.param(
            dict(test="assert False"), "2 notebooks passed, 0 failed", "1 failed", 1, marks=pytest.mark.slow
        ),
    ],
    ids=["well", "a notebook fails", "a notebook kills its process", "a test fails"],
)
def test_both_suites_run_and_are_counted(given, notebooks, tests, code, project):
    done = project(**given)
    lines = done.stdout.strip().splitlines()
    assert done.returncode == code, done.stdout + done.stderr
    [counts] = [line for line in lines if line.startswith("nbdev_test: ")]
    assert re.match(f"nbdev_test: {notebooks} in", counts) and re.match(f"=* ?{tests} in", lines[-1]), (
        done.stdout
    )
    assert ("second.ipynb" in counts) == ("second_notebook" in given)


def test_each_notebook_runs_in_one_of_the_two_commands(monkeypatch):
    from nbdev.doclinks import nbglob

    monkeypatch.syspath_prepend(ROOT / ".ci")
    monkeypatch.chdir(ROOT)
    suites = importlib.import_module("suites")
    chosen = {}
    for slow in (False, True):
        for words in suites.selections(slow):
            options = {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2])}
            paths = nbglob(**options, as_path=True)
            chosen.setdefault(slow, []).extend(str(p.resolve().relative_to(ROOT / "nbs")) for p in paths)
    every = {str(p.relative_to(ROOT / "nbs")) for p in nbglob(ROOT / "nbs", as_path=True)}
    assert sorted([*chosen[True], *chosen[False]]) == sorted(every)
    assert set(chosen[True]) == {name for name in every if suites.is_slow(name)}
    assert "bench/engines.ipynb" in chosen[True] and "modules/generation/engines.ipynb" in chosen[False]


@pytest.mark.parametrize("failed", [[], ["first.ipynb"]])
@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("slow", [False, True])
def test_either_suite_fails_the_command(slow, code, failed, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / ".ci")
    suites, calls = importlib.import_module("suites"), []
    monkeypatch.setattr(suites, "run_notebooks", lambda env, slow: calls.append(slow) or (["second"], failed))
    monkeypatch.setattr(suites, "run_tests", lambda env, *options: calls.append(options) or code)
    assert bool(suites.main([*["--slow"] * slow, "-x"])) == bool(code or failed)
    assert calls == [slow, ("-m", "slow and not real_data", "-x") if slow else ("-x",)]


def test_two_workers_that_write_into_one_line_have_both_said_it(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / ".ci")
    told_in = importlib.import_module("suites").told_in
    one, other = "/a place/nbs/one.ipynb", "/a place/nbs/deep/other.ipynb"
    assert told_in(f"- Completed {one}Starting {other}\n") == [("- Completed", one), ("Starting", other)]
    assert told_in(f"Starting {one}\n") == [("Starting", one)]
    assert told_in("\tone.ipynb\n") == told_in("one.ipynb: 3 secs\n") == []
