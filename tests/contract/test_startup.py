"What a command imports before it can answer: libraries of seconds only where they are needed"

import json
import os
import subprocess
import sys

import pytest

from dialsum.models.precision import cpu_features, may_have_gpu

HEAVY = ("torch", "transformers", "peft", "scipy", "matplotlib", "sklearn", "nltk", "ray")


UNREAD = ("pandas", *HEAVY)  # without pandas a command can read no data


def imported(code, *words, heavy=HEAVY, **variables):
    "Which of the heavy libraries a new process has imported"
    asked = f"import json, sys\n{code}\nprint(json.dumps([m for m in {heavy} if m in sys.modules]))"
    command = [sys.executable, "-c", asked, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | variables)
    return json.loads(done.stdout.splitlines()[-1])


CALL = "from dialsum.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass"


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["models"], ["models", "--json"]])
def test_a_command_that_only_tells_imports_no_heavy_library(words):
    assert imported(CALL, *words, heavy=UNREAD) == []


def test_the_list_of_experiments_imports_no_heavy_library(tmp_path):
    assert imported(CALL, "runs", "--runs", str(tmp_path), heavy=UNREAD) == []


@pytest.mark.parametrize("words", ["models", "runs --help"])
def test_a_command_imports_no_module_of_the_others(words):
    asked = f"import sys\n{CALL}\nprint(*(m for m in sys.modules if m.startswith('dialsum.commands.')))"
    done = subprocess.run(
        [sys.executable, "-c", asked, *words.split()], capture_output=True, text=True, check=True
    )
    own = {"options", "option_help", "recipes"}  # the words of all commands
    listing = {"listing", "layout"} if words == "models" else set()
    assert {m.split(".")[-1] for m in done.stdout.splitlines()[-1].split()} == own | listing


@pytest.mark.skipif(may_have_gpu() or not cpu_features(), reason="only torch knows what this machine can do")
def test_a_preflight_without_weights_or_rehearsal_imports_no_heavy_library(tmp_path):
    words = ["preflight", "--models", "all", "--runs", str(tmp_path)]
    places = dict(HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path), DIALSUM_CACHE=str(tmp_path / "cache"))
    assert imported(CALL, *words, **places) == []
    assert not (tmp_path / "cache" / "simulations").exists()  # nothing was simulated


def test_a_score_imports_no_heavy_library():
    assert imported("from dialsum.scores.rouge import rouge\nrouge(['가 나'], ['가 다'])") == []


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "dialsum.cli", "models"], capture_output=True, text=True)
    assert done.returncode == 0 and "qwen3-4b" in done.stdout


def test_a_reader_who_has_enough_gets_no_traceback():
    "As `dialsum models | head -1`: what is left to print has nowhere to go"
    call = "import sys; from dialsum.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", call, "models"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b"", 141)
