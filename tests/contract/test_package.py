"""What people import from `dialsum` itself: the names that stay, read when they are asked for"""

import json
import subprocess
import sys

import pytest

import dialsum

STABLE = ("Predictor", "preflight", "read", "rouge", "train", "write_report")


@pytest.mark.parametrize("name", STABLE)
def test_a_stable_name_is_there_and_says_what_it_does(name):
    assert name in dir(dialsum)
    assert getattr(dialsum, name).__name__ == name and getattr(dialsum, name).__doc__


def test_importing_the_package_reads_none_of_it():
    code = "import dialsum, json, sys; print(json.dumps([m for m in sys.modules if m.startswith('dialsum') or m in ('torch', 'pandas')]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["dialsum"]


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'rogue'"):
        _ = dialsum.rogue
