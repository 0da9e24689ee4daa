"What the tests of install share"

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.places import ROOT


@pytest.fixture(scope="module")
def installed(checkout, tmp_path_factory):
    "A folder that holds the installed wheel"
    top = tmp_path_factory.mktemp("wheel")
    for command in (
        ["build", "--wheel", "--no-isolation", "--outdir", top, checkout],
        ["pip", "install", "--quiet", "--no-deps", "--target", top / "site", None],
    ):
        wheel = next(top.glob("*.whl"), None)
        done = subprocess.run(
            [sys.executable, "-m", *(str(wheel if w is None else w) for w in command)],
            cwd=top,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    return top / "site"


def commands(language):
    return re.findall(
        rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S
    )


@pytest.fixture(scope="module")
def place(checkout, tmp_path_factory):
    "A folder with the notebooks and somebody's data, but not the package"
    top = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(checkout / "nbs", top / "nbs")
    for part in ("train", "dev", "test"):
        shutil.copy(checkout / "nbs" / "sample" / f"{part}.csv", top / f"my_{part}.csv")
    return top


@pytest.fixture(scope="module")
def shell(installed, place, tmp_path_factory):
    "A function that types a block of commands there, with the installed package"
    bin = tmp_path_factory.mktemp("bin")
    (bin / "dialsum").write_text(
        f"#!{sys.executable}\nimport sys, dialsum\nfrom dialsum.cli import main\nprint(dialsum.__file__, file=sys.stderr)\nsys.exit(main())\n"
    )
    (bin / "dialsum").chmod(0o755)
    env = os.environ | dict(
        PYTHONPATH=str(installed),
        PATH=f"{bin}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        HF_HUB_OFFLINE="1",
        JUPYTER_PREFER_ENV_PATH="1",
    )
    return lambda block: subprocess.run(
        ["timeout", "1800", "bash", "-ec", block],
        cwd=place,
        env=env,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def typed_in(shell):
    "What the README's commands print, one block after the other: block → CompletedProcess"
    return {block: shell(block) for block in commands("bash")}
