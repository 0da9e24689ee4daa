"Files as people have them: read, or named with the line and the remedy"

import bz2
import gzip
import json
import lzma
import warnings

import pandas as pd
import pytest
from support.experiments import fact_of
from support.reading import OTHERS, ROW, ROWS, TALK

from dialsum.augment.prepare import check_data
from dialsum.data.dialogues import read, to_csv
from dialsum.data.rows import check_disjoint, rows_of
from dialsum.report.cases import _dev_rows
from dialsum.runs.errors import DialsumError
from dialsum.runs.files import sha256
from dialsum.runs.folders import new_run
from dialsum.runs.stage import Stage
from dialsum.scores.files import score_files


def same(frame, rows=ROWS):
    assert frame["fname"].tolist() == [r["fname"] for r in rows]
    assert frame["dialogue"].tolist() == [r["dialogue"] for r in rows]
    assert frame["summaries"].tolist() == [(r["summary"],) for r in rows]


def refusal(path, **how):
    with pytest.raises(DialsumError) as told:
        read(path, **how)
    said = str(told.value)
    assert path.name in said and len(said) < 600 and len(said.splitlines()) == 1, said
    return said


def table(separator, **how):
    return pd.DataFrame(ROWS).to_csv(index=False, sep=separator, **how)


def lines(rows=ROWS, **how):
    return "".join(json.dumps(r, ensure_ascii=False, **how) + "\n" for r in rows)


SPELLINGS = {
    "tabs.tsv": table("\t"),
    "tabs.csv": table("\t"),
    "semicolons.csv": table(";"),
    "bars.csv": table("|"),
    "quoted.csv": table(";", quoting=1),
    "said.csv": "sep=;\r\n" + table(";", lineterminator="\r\n"),
    "said_comma.csv": "sep=,\n" + table(","),
    "blanks_in_header.csv": table(",").replace("fname,dialogue,summary", " fname, dialogue ,\u00a0summary"),
    "capitals.csv": table(",").replace("fname,dialogue,summary", "Fname,Dialogue,SUMMARY"),
    "empty_rows.csv": table(",") + ",,\n,,\r\n\n",
    "empty_columns.csv": table(",").replace("summary\n", "summary,,\n"),
    "ends_in_separators.csv": table(",").replace("한다.\n", "한다.,,\n"),
    "index.csv": pd.DataFrame(ROWS).to_csv(),
    "index_without_name.csv": pd.DataFrame(ROWS).to_csv().replace(",fname", "fname", 1),
    "lines.json": lines(),
    "lines.txt": lines(),
    "array.jsonl": json.dumps(ROWS),
    "array.json": json.dumps(ROWS, indent=2),
    "one_line.json": json.dumps(ROWS) + "\n",
    "wrapped.json": json.dumps(dict(version="1.0", data=ROWS), indent=1),
    "columns.json": pd.DataFrame(ROWS).to_json(),
    "blank_lines.jsonl": "\n" + lines().replace("\n", "\n\n"),
    "unused.jsonl": lines([r | dict(length=3, ok=True, vector=[0.5, None], more=dict(a=[{}])) for r in ROWS]),
    "windows.jsonl": lines().replace("\n", "\r\n"),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_one_table_in_many_spellings(name, tmp_path):
    path = tmp_path / name
    path.write_text(SPELLINGS[name], encoding="utf-8", newline="")
    same(read(path, summaries=True))


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("rows.csv.gz", gzip.compress),
        ("rows.csv.bz2", bz2.compress),
        ("rows.csv.xz", lzma.compress),
        ("rows.csv", gzip.compress),
    ],
)
def test_packed_files_are_unpacked(name, pack, tmp_path):
    (tmp_path / name).write_bytes(pack(table(",").encode()))
    same(read(tmp_path / name, summaries=True))
    (tmp_path / "cut.csv").write_bytes(pack(table(",").encode())[:40])
    assert "cut off or damaged" in refusal(tmp_path / "cut.csv")


def test_a_number_is_a_name(tmp_path):
    (tmp_path / "rows.jsonl").write_text(lines([r | dict(fname=i) for i, r in enumerate(ROWS)]))
    assert read(tmp_path / "rows.jsonl", summaries=True)["fname"].tolist() == ["0", "1"]
    (tmp_path / "list.jsonl").write_text(lines([r | dict(topic=["여행", "음식"]) for r in ROWS]))
    assert read(tmp_path / "list.jsonl")["topic"].tolist() == ["여행, 음식"] * 2


UNREADABLE = {
    "pointer.csv": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 8021\n",
        ["Git LFS", "git lfs pull"],
    ),
    "page.csv": (b'\xef\xbb\xbf\n<!DOCTYPE html>\n<html lang="ko">', ["web page"]),
    "page.json": (b"<html><body>404</body></html>", ["web page"]),
    "book.xlsx": (b"PK\x03\x04\x14\x00" + bytes(40), ["Excel", "CSV UTF-8"]),
    "book.csv": (b"PK\x03\x04\x14\x00 xl/workbook.xml", ["Excel"]),
    "old.xls": (b"\xd0\xcf\x11\xe0" + bytes(40), ["Excel"]),
    "rows.zip": (b"PK\x03\x04\x14\x00rows.csv", ["ZIP"]),
    "rows.parquet": (b"PAR1" + bytes(20), ["Parquet"]),
    "wide.csv": ("\ufeff" + table("\t")).encode("utf-16-le"),
    "damaged.csv": (
        table(",").encode().replace("한다".encode(), b"\xed\x95\xeb\x8b", 1),
        ["damaged character", "line 3"],
    ),
    "open_quote.csv": (table(",").replace('예요."', "예요.").encode(), ["quote", "line"]),
    "longer_row.csv": (
        "fname,dialogue,summary\nt_0,안녕,인사\nt_1,응, 그래,대답\n".encode(),
        ["line 3", "4 cells", "quotes"],
    ),
    "joined.csv": ((table(",") + table(",")).encode(), ["line 6", "header", "joined"]),
    "joined_otherwise.csv": ((table(",") + "summary,fname,dialogue\n").encode(), ["line 6", "header"]),
    "unquoted.csv": (
        "fname,dialogue\n1,안녕하세요, 반갑습니다\n".encode(),
        ["line 2", "3 cells", "header has 2", "','"],
    ),
    "unquoted_rows.csv": (
        "fname;dialogue\n1;네;맞아요 1번\n2;응;좋아\n".encode(),
        ["line 2", "3 cells", "';'"],
    ),
    "unquoted_names.csv": ("fname,dialogue\nt_1,3시,4시\nt_2,5시,6시\n".encode(), ["line 2", "3 cells"]),
    "joined_longer.csv": (
        "fname,dialogue,요약\nt_0,안녕,인사\nfname,dialogue,summary\n".encode(),
        ["line 3", "header", "joined"],
    ),
    "joined_gap.csv": (
        "파일명,대화,topic\nt_0,안녕,인사\nfname,Dialogue,\n".encode(),
        ["line 3", "header", "joined"],
    ),
    "no_quotes.csv": (f"fname,dialogue\nt_0,{TALK}\n".encode(), ["line 3", "turn", "quotes"]),
    "twice.csv": ("fname,dialogue,summary,summary\nt_0,안녕,인사,인사\n".encode(), ["'summary' twice"]),
    "broken.jsonl": ((lines() * 8 + '{"fname": "t_17", }\n').encode(), ["line 17", "JSON"]),
    "broken_first.jsonl": (('{"fname": "t_0"\n' + lines()).encode(), ["line 1", "JSON"]),
    "broken.json": (json.dumps(ROWS, indent=1).replace("}", "", 1).encode(), ["line", "JSON"]),
    "deep.json": (b"[" * 100_000, ["JSON"]),
    "numbers.jsonl": (b"1\n2\n", ["line 1", "object"]),
    "number_as_text.jsonl": (lines([ROW | dict(dialogue=5)]).encode(), ["dialogue", "5"]),
}


UNREADABLE["wide.csv"] = (UNREADABLE["wide.csv"], ["UTF-16", "UTF-8"])


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_named_with_its_line(name, tmp_path):
    raw, words = UNREADABLE[name]
    (tmp_path / name).write_bytes(raw)
    said = refusal(tmp_path / name)
    assert all(w in said for w in words), said


def test_a_header_of_any_length_makes_a_short_sentence(tmp_path):
    (tmp_path / "rows.csv").write_text("x" * 100_000 + "\nt_0\n")
    assert len(refusal(tmp_path / "rows.csv")) < 400
    (tmp_path / "many.csv").write_text(
        ",".join(f"column{i}" for i in range(9000)) + "\n" + "1," * 8999 + "1\n"
    )
    assert "and 8988 more" in refusal(tmp_path / "many.csv")
    (tmp_path / "names.csv").write_text(f"fname,dialogue\n{'y' * 50_000},안녕\n{'y' * 50_000},응\n")
    assert len(refusal(tmp_path / "names.csv")) < 400
    assert len(str(DialsumError("z" * 100_000 + ": do this."))) <= 1500 and str(
        DialsumError("z" * 100_000 + ": do this.")
    ).endswith(": do this.")


@pytest.mark.parametrize("column", ["fname", "dialogue", "summary", "topic"])
@pytest.mark.parametrize("half", ["\ud83d", "\ude00", "\x00"])  # noqa: PT014
def test_half_an_emoji_is_refused_where_it_stands(column, half, tmp_path):
    rows = [
        *ROWS,
        dict(fname="t_2", dialogue="#Person1#: 응", summary="좋다.", topic="말")
        | {column: f"좋아 {half} 응"},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    said = refusal(tmp_path / "rows.jsonl", summaries=True)
    assert "line 3" in said and column in said and said.encode("utf-8")
    if half == "\x00":
        assert "NUL" in said
    whole = [
        r | dict(dialogue="#Person1#: \ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"))
        for r in ROWS
    ]
    (tmp_path / "whole.jsonl").write_text(
        "".join(json.dumps(r) + "\n" for r in whole)
    )  # two escapes that are one character
    assert read(tmp_path / "whole.jsonl")["dialogue"][0] == "#Person1#: 😀"


def test_what_nobody_reads_may_hold_half_an_emoji(tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r | dict(comment="\ud83d")) + "\n" for r in ROWS))
    same(read(tmp_path / "rows.jsonl", summaries=True))


def test_predict_and_score_refuse_half_an_emoji_in_one_sentence(typed, tmp_path):
    (tmp_path / "rows.jsonl").write_text(
        json.dumps(dict(fname="t_0", dialogue="#Person1#: 응 \ud83d", summary="좋다 \ud83d")) + "\n"
    )
    (tmp_path / "refs.csv").write_text("fname,summary\nt_0,좋다\n")
    for done in (
        typed(
            "predict",
            "--checkpoint",
            "nowhere",
            "--input",
            tmp_path / "rows.jsonl",
            "--output",
            tmp_path / "out.csv",
        ),
        typed("score", "--predictions", tmp_path / "rows.jsonl", "--references", tmp_path / "refs.csv"),
        typed("run", "--train-csv", tmp_path / "rows.jsonl", "--runs", tmp_path / "runs"),
    ):
        assert (
            done.returncode == 2 and "row 1" in done.stderr and len(done.stderr.strip().splitlines()) == 1
        ), done.stderr


def test_nul_in_a_csv_is_refused_with_its_row(tmp_path):
    (tmp_path / "rows.csv").write_text(table(",").replace("맞죠", "맞\0죠", 1))
    assert "row 1 (line 2)" in refusal(tmp_path / "rows.csv") and "NUL" in refusal(tmp_path / "rows.csv")


MAP = "fname=파일명,dialogue=대화 내용,summary=요약"


def test_other_names_are_told_how_to_be_mapped(tmp_path):
    OTHERS.to_csv(tmp_path / "rows.csv", index=False, encoding="cp949")
    said = refusal(tmp_path / "rows.csv", summaries=True)
    assert "--columns fname=파일명" in said and "summary=요약" in said and "파일명, 대화 내용, 요약" in said
    same(read(tmp_path / "rows.csv", summaries=True, columns=MAP))


def test_names_that_are_not_there_are_asked_for_only_where_they_are_needed(tmp_path):
    OTHERS.to_csv(tmp_path / "train.csv", index=False)
    OTHERS.drop(columns="요약").to_csv(tmp_path / "test.csv", index=False)
    pd.DataFrame(ROWS).to_csv(tmp_path / "ours.csv", index=False)
    assert read(tmp_path / "test.csv", columns=MAP)["summaries"].tolist() == [(), ()]
    same(read(tmp_path / "ours.csv", columns=MAP))
    assert "summary" in refusal(tmp_path / "test.csv", summaries=True, columns=MAP)
    both = OTHERS.assign(dialogue="#Person1#: 다른 것")
    both.to_csv(tmp_path / "both.csv", index=False)
    same(read(tmp_path / "both.csv", summaries=True, columns=MAP))  # what was named counts


@pytest.mark.parametrize(
    ("text", "word"),
    [("dialog=대화", "did you mean 'dialogue'"), ("대화", "equals sign"), ("dialogue=", "equals sign")],
)
def test_a_mapping_that_cannot_be_followed_is_refused(text, word):
    from dialsum.data.columns import columns_of

    with pytest.raises(DialsumError, match=word):
        columns_of(text)


@pytest.mark.parametrize(
    ("stage", "part"),
    [
        ("evaluate", "dev"),
        ("train", "train"),
        ("predict", "test"),
        ("tta", "dev"),
        ("soup", "dev"),
        ("optimize", "dev"),
        ("epoch_candidates", "dev"),
        ("api", "dev"),
    ],
)
def test_every_stage_that_takes_a_file_takes_its_names(stage, part, tmp_path):
    from dialsum.runs.parameters import complete

    OTHERS.to_csv(tmp_path / "rows.csv", index=False)
    run = new_run("x", {}, tmp_path / "runs")
    given = {f"{part}_csv": str(tmp_path / "rows.csv"), "run": str(run), "columns": MAP}
    same(rows_of(Stage(stage, complete(stage, given)), part))


def test_the_data_stage_takes_them_and_a_plan_gives_them_to_it_alone(tmp_path):
    from dialsum.pipeline.plan import plan_stages

    OTHERS.to_csv(tmp_path / "train.csv", index=False)
    OTHERS.assign(**{"대화 내용": ["#Person1#: 아침", "#Person1#: 저녁"]}).to_csv(
        tmp_path / "dev.csv", index=False
    )
    options = dict(train_csv=str(tmp_path / "train.csv"), dev_csv=str(tmp_path / "dev.csv"), columns=MAP)
    parts, _ = check_data(options)
    same(parts["train"])
    having = [s.stage for s in plan_stages(tmp_path, ["kobart"], options) if "columns" in s.params]
    assert having == ["data"]


def test_what_was_measured_under_other_names_is_read_again_for_the_cases(tmp_path):
    OTHERS.to_csv(tmp_path / "rows.csv", index=False)
    fact = fact_of(
        "evaluate",
        params=dict(dev_csv=str(tmp_path / "rows.csv"), columns=MAP),
        inputs=dict(rows=sha256(tmp_path / "rows.csv")),
    )
    same(_dev_rows(tmp_path, fact))


# lists of turns


def test_the_layouts_of_public_corpora_are_read(tmp_path):
    aihub = dict(
        numberOfItems=1,
        data=[
            dict(
                header=dict(dialogueInfo=dict(dialogueID="u-1", topic="식음료")),
                body=dict(
                    summary="두 사람이 점심을 정한다.",
                    dialogue=[
                        dict(utteranceID="U1", participantID="P01", utterance="점심 뭐 먹지?"),
                        dict(utteranceID="U2", participantID="P02", utterance="국수"),
                        dict(utteranceID="U3", participantID="P01", utterance="그래"),
                    ],
                ),
            )
        ],
    )
    nikl = [
        dict(
            id="n-1",
            input=dict(
                conversation=[
                    dict(speaker="SD2000002", utterance="어디 갔다 왔어?"),
                    dict(speaker="SD2000001", utterance="제주도,\n지난주에"),
                ],
                subject_keyword=["여행"],
            ),
            output="SD2000001은 제주도에 다녀왔다.",
        )
    ]
    corpus = dict(
        id="c",
        document=[
            dict(
                id="d-1",
                metadata=dict(topic="x"),
                utterance=[
                    dict(id="1", form="안녕", speaker_id="SD1"),
                    dict(id="2", form="응", speaker_id="SD2"),
                ],
            )
        ],
    )
    for name, content in dict(aihub=aihub, nikl=nikl, corpus=corpus).items():
        (tmp_path / f"{name}.json").write_text(
            json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8"
        )
    row = read(tmp_path / "aihub.json", summaries=True).iloc[0]
    assert (row["fname"], row["topic"], row["summaries"]) == (
        "u-1",
        "식음료",
        ("두 사람이 점심을 정한다.",),
    ) and row["dialogue"] == "#Person1#: 점심 뭐 먹지?\n#Person2#: 국수\n#Person1#: 그래"
    row = read(tmp_path / "nikl.json", summaries=True).iloc[0]
    assert (
        row["dialogue"] == "#Person1#: 어디 갔다 왔어?\n#Person2#: 제주도, 지난주에"
        and row["summaries"] == ("#Person2#은 제주도에 다녀왔다.",)
        and row["topic"] == "여행"
    )
    assert read(tmp_path / "corpus.json")["dialogue"][0] == "#Person1#: 안녕\n#Person2#: 응"


def test_a_list_of_turns_in_a_cell(tmp_path):
    turns = [
        dict(speaker="민수", utterance="어디야?"),
        dict(speaker="지우", utterance="집"),
        dict(speaker="민수", utterance=""),
    ]
    for name, cell in dict(json=json.dumps(turns, ensure_ascii=False), python=str(turns)).items():
        pd.DataFrame([dict(fname="t_0", dialogue=cell)]).to_csv(tmp_path / f"{name}.csv", index=False)
        assert read(tmp_path / f"{name}.csv")["dialogue"][0] == "#Person1#: 어디야?\n#Person2#: 집"
    (tmp_path / "texts.tsv").write_text(
        'fname\tdialogue\nt_0\t"[""어디야?"", ""집""]"\nt_1\t[전화] 여보세요?\n', encoding="utf-8"
    )
    assert read(tmp_path / "texts.tsv")["dialogue"].tolist() == ["어디야?\n집", "[전화] 여보세요?"]
    (tmp_path / "own.jsonl").write_text(
        json.dumps(
            dict(
                fname="t_0",
                dialogue=[dict(speaker="Person2", text="응"), dict(speaker="#Person1#", text="가자")],
            )
        )
    )
    assert read(tmp_path / "own.jsonl")["dialogue"][0] == "#Person2#: 응\n#Person1#: 가자"
    (tmp_path / "mixed.jsonl").write_text(
        json.dumps(
            dict(
                fname="t_0",
                dialogue=[dict(speaker=s, text="응") for s in ("민수", "Person2", "지우", "민수", "Person1")],
            )
        )
    )
    assert (
        read(tmp_path / "mixed.jsonl")["dialogue"][0]
        == "#Person3#: 응\n#Person2#: 응\n#Person4#: 응\n#Person3#: 응\n#Person1#: 응"
    )
    (tmp_path / "other.jsonl").write_text(json.dumps(dict(fname="t_0", dialogue=[dict(who="A", says="응")])))
    assert "row 1" in refusal(tmp_path / "other.jsonl") and "utterance" in refusal(tmp_path / "other.jsonl")


def talk(*turns, summary="인사한다.", names=("speaker", "utterance")):
    return lines([dict(fname="t_0", dialogue=[dict(zip(names, turn)) for turn in turns], summary=summary)])


@pytest.mark.parametrize("words", [None, "", "  ", "\n"])
def test_a_turn_without_words_is_left_out(words, tmp_path):
    (tmp_path / "rows.jsonl").write_text(talk(("A", words), ("A", "안녕"), ("B", words), ("B", "응")))
    assert read(tmp_path / "rows.jsonl", summaries=True)["dialogue"].tolist() == [
        "#Person1#: 안녕\n#Person2#: 응"
    ]
    (tmp_path / "none.jsonl").write_text(talk(("A", words)))
    assert "has no dialogue in row 1" in refusal(tmp_path / "none.jsonl")


@pytest.mark.parametrize("dialogue", [[], "[]", None])
def test_a_list_without_turns_is_a_missing_dialogue(dialogue, tmp_path):
    (tmp_path / "rows.jsonl").write_text(lines([dict(fname="t_0", dialogue=dialogue)]))
    assert "has no dialogue in row 1" in refusal(tmp_path / "rows.jsonl")
    assert read(tmp_path / "rows.jsonl", gaps=True)["dialogue"].tolist() == [""]


UNKNOWN_TURNS = [
    (dict(role="user", content="안녕"), "role, content"),
    (dict(speaker="A", message="안녕"), "speaker, message"),
    (dict(speaker="A", utterance=5), "5 as its utterance"),
    ({}, "no fields"),
    ({"x" * 90_000: 1}, "…"),
]


NO_DICTS = [
    (["A", "안녕"], "['A', '안녕']"),
    (None, "None"),
]  # in a cell of text they may be a text in brackets


@pytest.mark.parametrize(
    ("turn", "words", "as_text"),
    [
        *((*case, as_text) for case in UNKNOWN_TURNS for as_text in (False, True)),
        *((*case, False) for case in NO_DICTS),
    ],
)
def test_a_turn_that_cannot_be_read_is_told_which_names_are(turn, words, as_text, tmp_path):
    turns = [dict(speaker="A", utterance="가자"), turn]
    (tmp_path / "rows.jsonl").write_text(
        lines([dict(fname="t_0", dialogue=json.dumps(turns, ensure_ascii=False) if as_text else turns)])
    )
    said = refusal(tmp_path / "rows.jsonl")
    assert all(
        w in said
        for w in ("row 1", "turn 2", words, "utterance, form or text", "speaker, speaker_id or participantID")
    ), said


@pytest.mark.parametrize(
    ("summary", "renamed"),
    [
        ("김철수가 이영희에게 인사한다.", "#Person1#가 #Person2#에게 인사한다."),
        ("이영희, 김철수: 둘이 만난다.", "#Person2#, #Person1#: 둘이 만난다."),
        ("김철수 씨는 이영희에게는 말한다", "#Person1# 씨는 #Person2#에게는 말한다"),
        ("#Person1#은 간다.", "#Person1#은 간다."),
    ],
)
def test_a_summary_calls_speakers_by_their_tags(summary, renamed, tmp_path):
    (tmp_path / "rows.jsonl").write_text(talk(("김철수", "안녕"), ("이영희", "응"), summary=summary))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(tmp_path / "rows.jsonl", summaries=True)["summaries"][0] == (renamed,)


@pytest.mark.parametrize(
    ("speaker", "summary"),
    [
        ("A", "A가 인사한다."),
        ("1", "1은 인사한다."),
        ("가", "가는 인사한다."),
        ("김철수", "김철수네가 인사한다."),
    ],
)
def test_a_label_that_may_be_another_word_stays_and_is_told(speaker, summary, tmp_path):
    (tmp_path / "rows.jsonl").write_text(talk((speaker, "안녕"), ("나리", "응"), summary=summary))
    with pytest.warns(UserWarning, match=f"row 1: '{speaker}', who is #Person1#"):
        assert read(tmp_path / "rows.jsonl", summaries=True)["summaries"][0] == (summary,)


@pytest.mark.parametrize(
    ("speakers", "summary"),
    [
        (("A", "B"), "AI가 B급 영화를 고른다."),
        (("1", "2"), "1시에 2만 원을 내고 12가지를 산다."),
        (("철수", "영희"), "김철수와 박영희가 온다."),
    ],
)
def test_a_label_inside_a_word_is_none(speakers, summary, tmp_path):
    (tmp_path / "rows.jsonl").write_text(talk(*((s, "안녕") for s in speakers), summary=summary))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(tmp_path / "rows.jsonl", summaries=True)["summaries"][0] == (summary,)


def test_labels_of_summaries_that_nobody_needs_are_not_told(tmp_path):
    (tmp_path / "rows.jsonl").write_text(talk(("A", "안녕"), ("B", "응"), summary="A가 인사한다."))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read(tmp_path / "rows.jsonl")) == 1


# summaries that are not needed, and texts that are none


def test_a_summary_column_that_is_partly_filled_does_not_matter_where_none_is_needed(typed, tmp_path):
    path = tmp_path / "rows.csv"
    pd.DataFrame([ROWS[0], ROWS[1] | dict(summary="")]).to_csv(path, index=False)
    frame = read(path)
    assert frame["summaries"].tolist() == [(ROW["summary"],), ()]
    (tmp_path / "again.csv").write_text(to_csv(frame))
    assert read(tmp_path / "again.csv").equals(frame)
    done = typed("predict", "--checkpoint", "nowhere", "--input", path, "--output", tmp_path / "out.csv")
    assert "summary" not in done.stderr and "no folder" in done.stderr  # the next thing that is wrong
    said = refusal(path, summaries=True)
    assert "'t_1'" in said and "--validate-data-quality" not in said  # an option that only the data stage has


@pytest.mark.parametrize(
    "unused",
    [
        dict(summary=5),
        dict(summary=["a", "b"]),
        dict(summary1=3),
        dict(summaries=3),
        dict(summaries="a"),
        dict(summaries=[3, None]),
        dict(summary="\ud83d"),
        dict(summary="\0"),
        dict(summary=True),
        dict(summary=dict(a=[])),
    ],
)
def test_a_summary_that_nobody_needs_may_be_of_any_type(unused, typed, tmp_path):
    bare = {k: v for k, v in ROW.items() if k != "summary"}
    (tmp_path / "rows.jsonl").write_text(
        json.dumps(bare | unused) + "\n" + json.dumps(ROWS[1] | dict(fname="t_1")) + "\n"
    )
    frame = read(tmp_path / "rows.jsonl")
    assert frame["summaries"].tolist() == [(), (ROWS[1]["summary"],)] and to_csv(frame).encode("utf-8")
    said = refusal(tmp_path / "rows.jsonl", summaries=True)
    if "summaries" in unused and not isinstance(unused["summaries"], list):
        assert "list of texts as summaries" in said


@pytest.mark.parametrize("gap", [dict(summary=""), dict(summary="." * 50_000 + "nan")])
def test_a_name_of_any_length_makes_a_short_sentence(gap, tmp_path):
    (tmp_path / "rows.jsonl").write_text(lines([ROW | dict(fname="y" * 100_000) | gap]))
    assert len(refusal(tmp_path / "rows.jsonl", summaries=True)) < 400
    long = pd.DataFrame([ROW | dict(fname="y" * 100_000)])
    with pytest.raises(DialsumError) as told:
        check_disjoint(long, long)
    assert len(str(told.value)) < 400
    (tmp_path / "twice.csv").write_text(",".join(["z" * 100_000] * 2) + "\n1,2\n")
    assert len(refusal(tmp_path / "twice.csv")) < 400


def test_the_option_that_drops_such_rows_is_named_where_there_is_one(typed, tmp_path):
    pd.DataFrame([ROWS[0], ROWS[1] | dict(summary="")]).to_csv(tmp_path / "train.csv", index=False)
    assert (
        "--validate-data-quality"
        in typed("run", "--train-csv", tmp_path / "train.csv", "--runs", tmp_path / "runs").stderr
    )
    parts, _ = check_data(
        dict(
            train_csv=str(tmp_path / "train.csv"),
            dev_csv=str(tmp_path / "train.csv"),
            test_csv=str(tmp_path / "train.csv"),
            validate_data_quality=True,
        )
    )
    assert parts["train"]["summaries"].tolist()[1] == ("",) and parts["test"]["summaries"].tolist()[1] == ()


@pytest.mark.parametrize("nothing", ["nan", "NaN", "None", "N/A", "null", "  "])
def test_a_text_that_stands_for_none_is_none(nothing, tmp_path):
    pd.DataFrame([ROWS[0], ROWS[1] | dict(summary=nothing)]).to_csv(tmp_path / "rows.csv", index=False)
    assert "'t_1'" in refusal(tmp_path / "rows.csv", summaries=True) and "line 4" in refusal(
        tmp_path / "rows.csv", summaries=True
    )
    assert read(tmp_path / "rows.csv")["summaries"].tolist()[1] == ()
    assert read(tmp_path / "rows.csv", summaries=True, gaps=True)["summaries"].tolist()[1] == ("",)


def test_scores_of_files_in_other_spellings_are_the_same(tmp_path):
    for name, text in {
        "a.csv": table(","),
        "b.tsv": table("\t"),
        "c.json": json.dumps([r | dict(fname=i) for i, r in enumerate(ROWS)]),
        "d.csv": table(",").replace("t_", ""),
    }.items():
        (tmp_path / name).write_text(text)
    a, b = (
        score_files(tmp_path / "a.csv", tmp_path / "b.tsv", "char"),
        score_files(tmp_path / "c.json", tmp_path / "d.csv", "char"),
    )
    assert a.rows["score"]["rouge1"].f == b.rows["score"]["rouge1"].f == 100
