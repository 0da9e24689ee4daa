"What a command imports before it can answer: libraries of seconds only where they are needed"

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "peft", "scipy", "matplotlib", "sklearn", "nltk")


def imported(code, *words):
    "Which of the heavy libraries a new process has imported"
    asked = f"import json, sys\n{code}\nprint(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", asked, *words], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


CALL = "from dialsum.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass"


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["models"], ["models", "--json"]])
def test_a_command_that_only_tells_imports_no_heavy_library(words):
    assert imported(CALL, *words) == []


def test_the_list_of_experiments_imports_no_heavy_library(tmp_path):
    assert imported(CALL, "runs", "--runs", str(tmp_path)) == []


def test_a_score_imports_no_heavy_library():
    assert imported("from dialsum.scores.rouge import rouge\nrouge(['가 나'], ['가 다'])") == []


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "dialsum.cli", "models"], capture_output=True, text=True)
    assert done.returncode == 0 and "qwen3-4b" in done.stdout
