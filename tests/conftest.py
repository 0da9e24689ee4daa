"What the tests share: a checkout to run in, the command line, real data where there is some"

import io
import os
import random
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.experiments import build, hell  # noqa: F401 (fixtures)
from support.places import ROOT, SHARED


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


@pytest.fixture
def bf16_processor(monkeypatch):
    "A CPU that says that it computes in bfloat16 (any can: those without the instructions are slow)"
    import torch

    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)


FOLDERS = [
    "slow",
    "contract",
    "models",
    "gpu",
    "unit",
]  # the longest first: a worker that begins one last lets the others wait


def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: FOLDERS.index(item.path.parent.name))
    for item in items:
        if item.path.parent.name == "slow":
            item.add_marker("slow")
        if "chromium" in item.fixturenames:
            item.add_marker("browser")
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
