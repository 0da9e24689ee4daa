"The command line as somebody meets it who has not read anything"

import inspect
import re

import pytest
from rich.cells import cell_len
from support.experiments import builder, two_of_four_broken

from dialsum.cli import COMMANDS, command_function


@pytest.fixture
def helped(typed, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    def helped(*words) -> list[str]:
        done = typed(*words)
        assert done.returncode == 0 and not done.stderr
        assert all(cell_len(line) <= 80 for line in done.stdout.splitlines())
        return done.stdout

    return helped


def test_no_word_and_the_word_help_show_all_commands(helped):
    shown = helped("--help")
    assert helped() == helped("help") == shown
    for command in COMMANDS:  # each beside what it does
        assert re.search(rf"^  {command} +\S", shown, re.MULTILINE), command


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_function_that_takes_what_was_read(name):
    assert list(inspect.signature(command_function(name)).parameters) == ["args"]


def test_help_of_a_command(helped):
    assert helped("help", "resume") == helped("resume", "--help")
    assert "not given stays as the experiment has it" in " ".join(helped("resume", "--help").split())


def refused(typed, *words) -> str:
    done = typed(*words)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    return done.stderr.strip()


@pytest.mark.parametrize("words", [["runn"], ["help", "runn"], ["runn", "--epochs", "3"]], ids=str)
def test_a_slip_in_a_command_is_answered_with_the_nearest(words, typed):
    assert refused(typed, *words) == "dialsum: unknown command 'runn', did you mean 'run'?"


def test_what_is_missing_points_to_the_help_of_the_command(typed):
    assert refused(typed, "score").endswith("(see `dialsum score --help`).")


def test_resume_without_a_name_names_what_can_be_resumed(typed, tmp_path):
    runs = tmp_path / "runs"
    none = refused(typed, "resume", "--runs", runs)
    assert none.endswith("there is none yet: start one with `dialsum run`, or try `dialsum demo`.")
    two_of_four_broken(builder(tmp_path))
    builder(tmp_path)(name="20261121_012847_of_one_stage")  # without models: nothing that goes on
    said = refused(typed, "resume", "--runs", runs)
    assert said == "dialsum: no experiment is named: give one of 20261121_012847_broken."


def test_a_wrong_model_in_a_recipe_is_told_with_its_line(typed, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("scale: replica\nmodels: kobrat")
    assert f"'{recipe}', line 2: unknown model 'kobrat', did you mean 'kobart'?" in refused(
        typed, "run", "--config", recipe
    )
