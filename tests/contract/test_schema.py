"""What an earlier version has written (schema 1: sentences instead of codes) is read as if it were of today"""

from dialsum.pipeline.process import run_stage
from dialsum.pipeline.spec import StageSpec
from dialsum.runs.error_facts import error_sentence
from dialsum.runs.folders import new_run


def test_a_refusal_in_a_notebook_reaches_its_fact_by_code(tmp_path):
    run = new_run("refused", {}, tmp_path)
    missing = tmp_path / "none.csv"
    error = run_stage(StageSpec(run, "data", "", dict(train_csv=str(missing)))).error
    assert (error.kind, error.code, error.fields["file"]) == (
        "user",
        "file_unreadable",
        str(missing),
    )
    assert "message" not in error.to_dict() and error_sentence(error).startswith(f"cannot read '{missing}'")
