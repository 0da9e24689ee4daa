"Data as people have it, through the command line"

import csv
import os
from pathlib import Path

import pandas as pd
import pytest

from dialsum.data.dialogues import read, to_csv
from dialsum.data.folds import split
from dialsum.korean.tags import TAG
from dialsum.runs.places import sample_path

ROW = "#Person1#: 안녕하세요.\n#Person2#: 네, 안녕하세요."


def write(path, rows, columns=("fname", "dialogue", "summary"), encoding="utf-8"):
    with open(path, "w", encoding=encoding, newline="") as f:
        out = csv.writer(f)
        out.writerow(columns)
        out.writerows(rows)
    return path


good = [(f"t_{i}", ROW.replace("안녕", f"안녕 {i}"), f"{i}번째로 인사한다.") for i in range(12)]
BAD = {
    "missing column": (lambda p: write(p, [r[:2] for r in good], ("fname", "dialogue")), "summary"),
    "empty file": (lambda p: p.write_bytes(b""), "is empty"),
    "no rows": (lambda p: write(p, []), "no rows"),
    "duplicate fname": (lambda p: write(p, [*good, good[0]]), "t_0"),
    "NaN summary": (lambda p: write(p, [*good, ("t_x", ROW, "")]), "t_x"),
    "wrong encoding": (
        lambda p: p.write_bytes("fname,dialogue,summary\nt_0,안녕,인사\n".encode("utf-16")),
        "UTF-8",
    ),
    "unreadable CSV": (lambda p: p.write_text('fname,dialogue,summary\nt_0,"안녕,인사\n'), "quotes"),
    "a folder": (lambda p: p.mkdir(), "cannot read"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_sentence_and_leaves_nothing(what, dialsum, tmp_path):
    make, words = BAD[what]
    make(tmp_path / "train.csv")
    done = dialsum(
        "run",
        "--scale",
        "replica",
        "--train-csv",
        tmp_path / "train.csv",
        "--runs",
        tmp_path / "runs",
        "--reports",
        tmp_path / "reports",
    )
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert words in done.stderr and "train.csv" in done.stderr
    assert not list(tmp_path.glob("runs/*")) and not list(tmp_path.glob("reports/*"))


def test_rows_in_both_train_and_dev_are_refused(dialsum, tmp_path):
    write(tmp_path / "train.csv", good)
    write(tmp_path / "dev.csv", [("d_0", good[3][1].replace("\n", " \r\n"), "인사한다.")])
    done = dialsum(
        "run",
        "--train-csv",
        tmp_path / "train.csv",
        "--dev-csv",
        tmp_path / "dev.csv",
        "--runs",
        tmp_path / "runs",
    )
    assert (
        done.returncode == 2 and "'d_0' = 't_3'" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    )


def test_a_folder_without_write_permission_is_refused(typed, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    closed = (
        tmp_path / "closed" if os.geteuid() else Path("/sys")
    )  # root may write everywhere but where the kernel itself refuses
    if not closed.is_dir():
        pytest.skip("running as root, and there is no /sys that would refuse it")
    before = sorted(closed.iterdir())
    for option in ("--runs", "--reports"):
        done = typed("run", "--scale", "replica", option, closed)
        assert (
            done.returncode == 2
            and "write permission" in done.stderr
            and len(done.stderr.strip().splitlines()) == 1
            and sorted(closed.iterdir()) == before
        )


def test_a_place_that_cannot_be_a_folder_is_refused(typed, tmp_path):
    (tmp_path / "file").write_text("")
    for option in ("--runs", "--reports"):
        done = typed("run", "--scale", "replica", option, tmp_path / "file" / "runs")
        assert (
            done.returncode == 2
            and "cannot write" in done.stderr
            and len(done.stderr.strip().splitlines()) == 1
        )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", " \n"])
def test_editions_and_encodings_give_the_same_rows(encoding, newline, tmp_path):
    path = write(
        tmp_path / "train.csv", [(f, d.replace("\n", newline), s) for f, d, s in good], encoding=encoding
    )
    assert read(path, summaries=True)["dialogue"].tolist() == [d for _, d, _ in good]


def test_the_sample_is_what_it_says():
    train, dev, test, refs = (
        read(sample_path() / f"{n}.csv", summaries=n != "test")
        for n in ("train", "dev", "test", "test_references")
    )
    assert (len(train), len(dev), len(test), len(refs)) == (64, 16, 16, 16)
    assert refs["summaries"].map(len).eq(3).all() and refs["fname"].tolist() == test["fname"].tolist()
    everything = pd.concat([train, dev, test])
    assert not everything["dialogue"].duplicated().any() and not everything["fname"].duplicated().any()
    tags = set(TAG.findall("\n".join(everything["dialogue"])))
    assert tags >= {
        f"#{t}#"
        for t in (
            "Person3",
            "Person4",
            "PhoneNumber",
            "Address",
            "DateOfBirth",
            "PassportNumber",
            "SSN",
            "CardNumber",
            "CarNumber",
            "Email",
            "DateAndTime",
        )
    }
    turns = everything["dialogue"].str.count("\n") + 1
    assert (
        turns.min() == 1
        and everything["dialogue"].str.len().max() > 1200
        and everything["dialogue"].str.contains("ㅋㅋ").any()
    )
    for row in pd.concat([train, dev, refs]).itertuples():
        for s in row.summaries:
            assert set(TAG.findall(s)) <= set(TAG.findall(row.dialogue)), row.fname


def test_real_data_is_read_whole(shared):
    sizes = {}
    for name in ("train", "dev", "test"):
        rows = read(shared / "data" / "kodialogsum" / f"{name}.csv", summaries=name != "test")
        sizes[name] = len(rows)
        assert not rows["dialogue"].str.contains(r"\r|[ \t]\n").any()
    assert sizes == dict(train=2500, dev=250, test=499)


def test_split_keeps_file_order_and_both_sides():
    rows = read(sample_path() / "train.csv", summaries=True)
    a, b = split(rows, 0.1)
    assert len(b) == 6 and sorted([*a["fname"], *b["fname"]]) == sorted(rows["fname"])
    assert a["fname"].tolist() == [f for f in rows["fname"] if f in set(a["fname"])]
    assert to_csv(a) == to_csv(split(rows, 0.1)[0])
