"What a stranger does: install a wheel elsewhere, type what the README says"

import re
import tomllib
from importlib.metadata import distributions, metadata

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from support.install import commands, installed, place, shell, typed_in  # noqa: F401
from support.places import ROOT


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
    # of what is not installed (of optional extras), or in another version, nothing is known
    here = {canonicalize_name(d.name): d.version for d in distributions()}
    names = {r: canonicalize_name(r.name) for r in pinned}
    known = [name for r, name in names.items() if name in here and r.specifier.contains(here[name])]
    wanted = {name: metadata(name)["Requires-Python"] or "" for name in known}
    assert len(wanted) > 150 and not {
        name: needs for name, needs in wanted.items() if not SpecifierSet(needs).contains(f"{lowest}.0")
    }
