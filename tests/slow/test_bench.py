"What `make bench` writes: a line a ratio, and nothing that was not measured"

import os
import re
import subprocess
import sys

from support.places import ROOT

OLD = "| scores | something else | something else | 2.0 | 1.0 to 3.0 | – | another machine |"
OTHER = "| engines | something | something else | 2.0 | 1.0 to 3.0 | – | a machine |"


def bench(*words, **more):
    call = [sys.executable, ".ci/bench.py", *map(str, words)]
    return subprocess.run(call, cwd=ROOT, env=os.environ | more, capture_output=True, text=True)


def test_a_table_gets_the_lines_of_what_is_run_and_keeps_the_others(tmp_path):
    table = tmp_path / "table.md"
    table.write_text(f"# Old\n\n{OTHER}\n{OLD}\n", encoding="utf-8")
    done = bench("--table", table, "scores", IN_TEST="1")
    assert done.returncode == 0, done.stderr
    rows = [line for line in table.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    assert rows[0].startswith("| ---") and rows[1] == OTHER
    assert rows[2] == OLD and len(rows) == 5
    assert all(row.startswith("| scores | ROUGE of 40 pairs") for row in rows[3:])
    circumstances = r", \d+ GiB, torch \d+\.\d+, transformers \d+\.\d+, \d{4}-\d\d-\d\d \|$"
    assert all(re.search(circumstances, row) for row in rows[3:])


def test_what_is_small_for_a_test_is_not_published():
    published = (ROOT / "reports" / "benchmarks.md").read_bytes()
    done = bench("scores", IN_TEST="1")
    assert done.returncode == 2 and "IN_TEST is set" in done.stderr
    assert (ROOT / "reports" / "benchmarks.md").read_bytes() == published


def test_an_unknown_name_is_told_with_those_that_there_are(tmp_path):
    done = bench("--table", tmp_path / "table.md", "score", IN_TEST="")
    assert done.returncode == 2 and "score" in done.stderr and "scores" in done.stderr
