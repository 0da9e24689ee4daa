"What a stranger does: install a wheel elsewhere, type what the README says"

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import metadata, version
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet


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


def test_the_installed_package_finds_its_notebooks_and_its_sample(shell, installed, place):
    done = shell("dialsum models\ndialsum stage data -o data_out.ipynb")
    assert (
        done.returncode == 0
        and done.stderr.count(f"{installed}/dialsum/__init__.py") == 2
        and "kullm-v2" in done.stdout
    ), done.stdout + done.stderr
    assert (place / "data_out.ipynb").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("block", commands("bash"), ids=lambda b: b.splitlines()[0][:60])
def test_the_commands_of_the_readme_work(block, typed_in, installed):
    done = typed_in[block]
    assert done.returncode == 0 and done.stderr.count(f"{installed}/dialsum/__init__.py") == len(
        re.findall("^dialsum ", block, re.M)
    ), f"{block}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


@pytest.mark.slow
def test_the_demo_trains_six_of_six(typed_in, place):
    runs = [json.loads(p.read_text()) for p in (place / "runs").glob("*_demo/*/train.json")]
    assert len(runs) == 6 and all(
        f["status"] == "success" and f["metrics"]["best"]["loss"] < f["metrics"]["dev_loss_before"]
        for f in runs
    )
    [report] = [p for p in (place / "reports").glob("*_demo.md") if "_vs_" not in p.name]
    assert "```mermaid" in report.read_text(encoding="utf-8") and report.with_suffix(".html").read_text(
        encoding="utf-8"
    ).startswith("<!DOCTYPE html>")


@pytest.mark.slow
def test_an_option_reaches_what_depends_on_it(typed_in, place):
    "`dialsum resume mine`, then with `--num-beams 2`"
    [said] = [done.stderr for block, done in typed_in.items() if block.startswith("dialsum resume")]
    assert "everything is done" in said and "kobart/evaluate runs again: num_beams was 0, now 2" in said
    again = said.partition(" are left")[2]  # of the second
    assert {line.split()[2] for line in again.splitlines() if " kept " in line} == {
        "data",
        "kobart/train",
        "qwen3-4b/train",
    }, again
    [asked] = [json.loads(p.read_text()) for p in (place / "runs").glob("*_mine/experiment.json")]
    [attempt] = asked["attempts"]
    assert (
        attempt["changed"] == {"num_beams": [None, 2]}
        and "kobart/evaluate" in attempt["left"]
        and "kobart/train" not in attempt["left"]
    )


def test_type_checkers_are_told_that_the_package_has_types(installed):
    assert (installed / "dialsum" / "py.typed").is_file()


def test_make_names_what_the_readme_says():
    made = (ROOT / "Makefile").read_text()
    for word in re.findall(r"^make (\w+)", "\n".join(commands("sh")), re.M):
        assert re.search(rf"^{word}:", made, re.M), word


def test_what_is_pinned_installs_on_the_lowest_python_that_is_promised():
    lowest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(
        ">="
    )
    pinned = [
        Requirement(line)
        for line in (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    ]
    here = {
        r.name: r for r in pinned if r.specifier.contains(version(r.name))
    }  # of what is installed in another version nothing is known
    wanted = {name: metadata(name)["Requires-Python"] or "" for name in here}
    assert len(wanted) > 150 and not {
        name: needs for name, needs in wanted.items() if not SpecifierSet(needs).contains(f"{lowest}.0")
    }
