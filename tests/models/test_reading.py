"Files as people have them: read, or named with the line and the remedy"

from support.reading import OTHERS


def test_every_command_that_reads_dialogues_takes_the_names(typed, tmp_path):
    OTHERS.to_csv(tmp_path / "rows.csv", index=False)
    asked = ["--columns", "fname=파일명", "dialogue=대화 내용", "summary=요약"]
    score = [
        "score",
        "--predictions",
        tmp_path / "rows.csv",
        "--references",
        tmp_path / "rows.csv",
        "--tokenizer",
        "char",
    ]
    assert typed(*score).returncode == 2 and typed(*score, *asked).returncode == 0
    predict = [
        "predict",
        "--checkpoint",
        "nowhere",
        "--input",
        tmp_path / "rows.csv",
        "--output",
        tmp_path / "out.csv",
    ]
    assert "--columns" in typed(*predict).stderr
    assert "no folder" in typed(*predict, *asked).stderr  # the rows were read, and the next thing is wrong
    run = [
        "run",
        "--train-csv",
        tmp_path / "rows.csv",
        "--dev-csv",
        tmp_path / "rows.csv",
        "--runs",
        tmp_path / "runs",
    ]
    assert "--columns" in typed(*run).stderr and "are also in train" in typed(*run, *asked).stderr
    told = typed("preflight", "--scale", "replica", *run[1:], *asked)
    assert "are also in train" in told.stdout and "--columns" not in told.stdout
    assert typed("resume", "--help").stdout.count("--columns")
