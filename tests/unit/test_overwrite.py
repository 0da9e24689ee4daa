"No command writes over what it reads, however the two are spelled"

import pytest
from support.overwrite import ROWS, refused, rows  # noqa: F401

from dialsum.runs.checkout import nbs_path
from dialsum.runs.folders import new_run


@pytest.mark.parametrize("output", ["rows.csv", "./rows.csv", "{absolute}", "link.csv", "second_name.csv"])
def test_predict_refuses_its_input_as_output(output, rows, typed):
    output = output.format(absolute=rows)
    refused(
        typed("predict", "--checkpoint", "nowhere", "--input", "rows.csv", "--output", output),
        "rows.csv",
        "--output",
    )
    assert rows.read_text(encoding="utf-8") == ROWS


def test_predict_refuses_before_it_reads_a_file_that_would_be_refused_itself(rows, typed):
    rows.write_text("no header of ours\n", encoding="utf-8")
    refused(
        typed("predict", "--checkpoint", "nowhere", "--input", "link.csv", "--output", "rows.csv"), "rows.csv"
    )


def test_predict_refuses_a_file_of_its_checkpoint_as_output(rows, typed, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    refused(
        typed("predict", "--checkpoint", "model", "--input", "rows.csv", "--output", "model/config.json"),
        "a part of",
    )
    assert (tmp_path / "model" / "config.json").read_text() == "{}"


def test_another_name_is_no_reason_to_refuse(rows, typed):
    done = typed("predict", "--checkpoint", "nowhere", "--input", "rows.csv", "--output", "new.csv")
    assert done.returncode == 2 and "written over" not in done.stderr


@pytest.mark.parametrize("name", ["{nbs}/data.ipynb", "{nbs}/train.ipynb", "{nbs}", "link.ipynb"])
def test_a_stage_refuses_a_source_notebook_as_output(name, typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = nbs_path() / ("train.ipynb" if "train" in name else "data.ipynb")
    (tmp_path / "link.ipynb").symlink_to(source)
    before = source.read_bytes()
    run = new_run("data", {}, tmp_path / "runs")
    try:
        refused(typed("stage", "data", "-p", "run", run, "-o", name.format(nbs=nbs_path())), "-o")
    finally:
        after = source.read_bytes()
        if after != before:
            source.write_bytes(
                before
            )  # a failing test must not cost a notebook; a rewritten one is empty for whoever reads it meanwhile
    assert after == before and not (run / "data.ipynb").exists()


def test_a_stage_refuses_the_data_it_reads_as_output(rows, typed, tmp_path):
    run = new_run("data", {}, tmp_path / "runs")
    refused(typed("stage", "data", "-p", "run", run, "-p", "train_csv", "rows.csv", "-o", "link.csv"), "-o")
    assert rows.read_text(encoding="utf-8") == ROWS


def test_names_that_are_too_long_are_refused_in_one_sentence(typed, tmp_path):
    long = "x" * 300
    for words in (
        ("data", "-o", tmp_path / f"{long}.ipynb"),
        ("data", "-p", "run", long),
        ("data", "-p", "run", f"./{long}"),
    ):
        done = typed("stage", *words, "--runs", tmp_path / "runs")
        assert (
            done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1 and long[:30] in done.stderr
        ), done.stderr
    assert not (tmp_path / "runs").exists()
