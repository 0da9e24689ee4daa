"What the tests share: a checkout to run in, the command line, real data where there is some"

import ast
import io
import os
import random
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from experiments import build, hell  # noqa: F401 (fixtures)

ROOT = Path(__file__).resolve().parents[1]
SHARED = (
    ROOT.parent / "shared"
)  # research material that may not be redistributed; tests that need it skip without it


def pytest_addoption(parser):
    parser.addoption(
        "--kills", type=int, default=12, help="how often an experiment is killed in test_resume.py"
    )
    parser.addoption("--every-model", action="store_true", help="take all six models in test_full.py")
    parser.addoption(
        "--shuffle",
        type=int,
        default=0,
        metavar="SEED",
        help="take the files, and the tests of each, in a random order; 0: not",
    )


TOY = r"replica|learned\(|example_run|example_predictions|measure_(training|generation)"
PROCESS = r"subprocess|Popen|run_stage|run_plan|\bcall\b|\bcheckout\b|playwright"


@cache
def parts_with(pattern: str, path: Path) -> set[str]:
    "The tests and other top-level names of a test file that a pattern is found in, or in what they use of that file"
    parts = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            parts[node.name] = node
        if isinstance(node, ast.Assign):
            parts.update({target.id: node for target in node.targets if isinstance(target, ast.Name)})
    used = {
        name: {
            n.id if isinstance(n, ast.Name) else n.arg
            for n in ast.walk(node)
            if isinstance(n, (ast.Name, ast.arg))
        }
        for name, node in parts.items()
    }
    found = {name for name, node in parts.items() if re.search(pattern, ast.unparse(node))}
    while more := {name for name in parts if name not in found and used[name] & found}:
        found |= more
    return found


LONG = [
    "test_install.py",
    "test_full.py",
    "test_resume.py",
    "test_pipeline.py",
    "test_systems.py",
    "test_isolation.py",
]  # minutes each, with the slow ones


def pytest_collection_modifyitems(
    config, items
):  # the longest files first: a worker that begins one last lets the others wait
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))
    for item in items:
        name = item.function.__name__
        if name in parts_with(TOY, item.path):
            item.add_marker("model")  # is tried with other toys and on other processors, too
        elif name not in parts_with(PROCESS, item.path):
            item.add_marker("unit")
    if seed := config.getoption("--shuffle"):
        chance, files = random.Random(seed), sorted({item.path for item in items})
        chance.shuffle(files)
        chance.shuffle(items)
        items.sort(key=lambda item: files.index(item.path))  # what a file's tests share is made once


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    "A copy of the project's files, so that tests leave nothing in the real one"
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    top = tmp_path_factory.mktemp("checkout") / "dialsum"
    for name in filter(None, names):
        if not (ROOT / name).is_file():
            continue
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, top / name)
    subprocess.run(
        "git init -q && git add -A && git -c user.name=t -c user.email=t@example.com commit -qm t",
        shell=True,
        cwd=top,
        check=True,
    )
    return top


@pytest.fixture(scope="session")
def env(checkout):
    "The environment of a process that uses that copy"
    return os.environ | dict(
        PYTHONPATH=str(checkout),
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        HF_HUB_OFFLINE="1",
        JUPYTER_PREFER_ENV_PATH="1",
    )


@pytest.fixture(scope="session")
def call(checkout, env):
    "Run a command in that copy: call('dialsum', 'models') → CompletedProcess"

    def run(*words, cwd=None, timeout=3000, **more):
        return subprocess.run(
            [str(w) for w in words],
            cwd=cwd or checkout,
            env=env | more,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
        )

    return run


@pytest.fixture(scope="session")
def dialsum(call):
    "Run the command line: dialsum('models', '--json')"
    return lambda *words, **more: call(
        sys.executable,
        "-P",
        "-c",
        "import sys; from dialsum.cli import main; sys.exit(main())",
        *words,
        **more,
    )


@pytest.fixture
def typed(monkeypatch, tmp_path):
    "The command line in this process, for what is refused or only told: typed('run', '--epochs', '0', KEY='…')"
    from dialsum.cli import main

    def run(*words, **more):
        for name, value in more.items():
            monkeypatch.setenv(name, value)
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                code = main([str(w) for w in words])
            except SystemExit as e:
                code = e.code  # --help
        return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())

    return run


@pytest.fixture(scope="session")
def shared():
    "The folder of the real data and tokenizers"
    if not SHARED.is_dir():
        pytest.skip(
            f"needs {SHARED.name}/ beside the checkout (real data and tokenizers without a redistribution licence)"
        )
    return SHARED
