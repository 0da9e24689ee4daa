"Names of columns act, or are refused; advice on them is whole"

import pandas as pd
import pytest

from dialsum.augment.prepare import check_data
from dialsum.data.dialogues import read
from dialsum.runs.errors import DialsumError
from dialsum.runs.switches import check_switches

ROWS = pd.DataFrame(
    dict(
        fname=[f"t_{i}" for i in range(20)],
        dialogue=[f"#Person1#: {i}번" for i in range(20)],
        summary=[f"#Person1#이 {i}번이라고 한다." for i in range(20)],
    )
)


def test_names_without_files_of_one_s_own_are_refused():
    with pytest.raises(DialsumError, match="--columns acts only with .*--train-csv"):
        check_switches(dict(columns="dialogue=대화"))
    check_switches(dict(columns="dialogue=대화", train_csv="train.csv"))


def test_a_name_that_no_file_has_is_refused(tmp_path):
    ROWS.to_csv(tmp_path / "train.csv", index=False)
    options = dict(train_csv=str(tmp_path / "train.csv"))
    with pytest.raises(
        DialsumError, match="no file that was given has a column '대화문'.*fname, dialogue, summary"
    ):
        check_data(options | dict(columns="dialogue=대화문"))
    ROWS.head(3).assign(dialogue="#Person1#: 아침").rename(columns=dict(dialogue="대화문")).to_csv(
        tmp_path / "dev.csv", index=False
    )
    check_data(
        options | dict(dev_csv=str(tmp_path / "dev.csv"), columns="dialogue=대화문")
    )  # one of them has it


def test_the_advice_keeps_the_pairs_that_were_given(tmp_path):
    ROWS.set_axis(["파일명", "대화", "정리"], axis=1).to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(DialsumError) as told:
        read(tmp_path / "rows.csv", summaries=True, columns="fname=파일명,summary=정리")
    assert "--columns fname=파일명 summary=정리 dialogue=대화." in str(
        told.value
    ) and "파일명, 대화, 정리" in str(told.value)


@pytest.fixture
def files(tmp_path):
    "Rows, their predictions, and a run folder"
    ROWS.to_csv(tmp_path / "rows.csv", index=False)
    ROWS[["fname", "summary"]].to_csv(tmp_path / "predictions.csv", index=False)
    (tmp_path / "run").mkdir()
    return tmp_path


NO_COLUMN = "no file that was given has a column '{}'"


def test_predict_refuses_a_name_that_its_file_has_not(files, typed):
    done = typed(
        "predict",
        "--checkpoint",
        "/nowhere",
        "--input",
        files / "rows.csv",
        "--output",
        files / "out.csv",
        "--columns",
        "dialogue=대화",
    )
    assert done.returncode == 2 and NO_COLUMN.format("대화") in done.stderr, done.stderr


def test_score_refuses_a_name_that_neither_file_has(files, typed):
    paths = ["--predictions", files / "predictions.csv", "--references", files / "rows.csv"]
    done = typed("score", *paths, "--columns", "summary=요약문")
    assert done.returncode == 2 and NO_COLUMN.format("요약문") in done.stderr, done.stderr
    ROWS[["fname", "summary"]].rename(columns=dict(summary="요약문")).to_csv(
        files / "predictions.csv", index=False
    )
    done = typed("score", *paths, "--columns", "summary=요약문")  # one of them has it
    assert done.returncode == 0 and "100" in done.stdout, done.stderr


@pytest.mark.parametrize(("stage", "part"), [("evaluate", "dev"), ("predict", "test"), ("train", "dev")])
def test_a_stage_refuses_a_name_that_no_file_has(stage, part, files):
    from dialsum.data.rows import rows_of
    from dialsum.runs.stage import begin

    more = dict(train_csv=str(files / "rows.csv")) if stage == "train" else {}
    begun = begin(
        stage,
        {f"{part}_csv": str(files / "rows.csv"), "columns": "dialogue=대화", "run": str(files / "run")}
        | more,
    )
    with pytest.raises(DialsumError, match=NO_COLUMN.format("대화")):
        rows_of(begun, part)
