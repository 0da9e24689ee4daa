"Cleaning keeps a dialogue and its summaries of one mind, and a refusal says what would help"

import random
import re

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialsum.augment.prepare import prepare_rows
from dialsum.data.characters import control, jamo
from dialsum.data.dialogues import Dialogue, read
from dialsum.data.mending import broken_tag, mend, mend_pair
from dialsum.data.pairs import unusual_turns
from dialsum.data.quality import check, repaired
from dialsum.runs.errors import DialsumError
from dialsum.runs.folders import new_run
from dialsum.runs.parameters import complete
from dialsum.runs.places import sample_path
from dialsum.runs.stage import Stage

SAMPLE = read(sample_path() / "train.csv", summaries=True)


def bare(text):
    "Tags as other data sets have them"
    return re.sub(r"#Person(\d)#", r"Person\1", text)


def data(folder, **params):
    "What the data stage makes, in this process"
    run = new_run("data", {}, folder / "runs")
    return prepare_rows(Stage("data", complete("data", dict(run=str(run)) | params)))


def frame_of(rows):
    return pd.DataFrame(
        [dict(fname=f"t_{i}", dialogue=d, topic="", summaries=s) for i, (d, s) in enumerate(rows)]
    )


@pytest.mark.parametrize(
    "text",
    [
        "Person1은 우산을 샀다.",
        "그래서 Person2가 갔다",
        "그는Person1을 봤다",
        "person1에게",
        "Person12는",
        "그Person1# 봐",
    ],
)
def test_a_tag_without_its_signs_is_seen_before_a_particle(text):
    assert broken_tag(text) and "#Person" in mend(text)


@pytest.mark.parametrize(
    "text",
    ["Personal1 은", "XPerson1은", "Person of Interest를 봤다", "Person1A형", "#Person1#은 #Person12#를"],
)
def test_what_is_a_part_of_another_word_is_no_tag(text):
    assert not broken_tag(text) and mend(text) == text


def test_cleaned_rows_call_speakers_in_both_places_the_same():
    frame = SAMPLE.assign(
        dialogue=SAMPLE["dialogue"].map(bare), summaries=[tuple(map(bare, s)) for s in SAMPLE["summaries"]]
    )
    cleaned = repaired(frame)
    assert cleaned["summaries"].equals(SAMPLE["summaries"]) and not any(map(broken_tag, cleaned["dialogue"]))
    for before, after in zip(frame.itertuples(), cleaned.itertuples()):
        assert bool(re.search(r"(?<!#)Person\d", " ".join(after.summaries))) is False, before.summaries


def test_a_row_whose_dialogue_is_right_keeps_its_summary():
    odd = ("Ferson1은 기쁘다.", "Person1은\u00a0기쁘다.")
    cleaned = repaired(frame_of([("#Person1#: 기뻐.\n#Person2#: 응.", odd)]))
    assert cleaned["summaries"][0] == odd
    partly = repaired(frame_of([("#Person1#: 기뻐.\nPerson2: 응.", ("Person2는 Person1을 본다.",))]))
    assert partly["summaries"][0] == ("#Person2#는 Person1을 본다.",)  # only what its dialogue called so


def test_damage_in_both_is_mended_in_both():
    import unicodedata

    def nfd(text):
        return unicodedata.normalize("NFD", text)

    cleaned = repaired(
        frame_of(
            [
                (nfd("#Person1#: 민수야, 가자."), (nfd("#Person1#이 민수와 간다."),)),
                ("#Person1#: R&amp;D 부서야.", ("#Person1#은 R&amp;D 부서에 있다.",)),
            ]
        )
    )
    assert (
        cleaned["dialogue"][0] == "#Person1#: 민수야, 가자."
        and cleaned["summaries"][0] == ("#Person1#이 민수와 간다.",)
        and not jamo(cleaned["summaries"][0][0])
    )
    assert cleaned["dialogue"][1] == "#Person1#: R&D 부서야." and cleaned["summaries"][1] == (
        "#Person1#은 R&D 부서에 있다.",
    )


def test_the_words_that_a_pair_shares_are_never_fewer_after_cleaning():
    draw, slips = (
        random.Random(5),
        (
            bare,
            lambda t: t.replace("#Person1#", "＃Person1＃"),
            lambda t: t.replace("#Person2#", "#Ferson2#"),
            lambda t: t.replace(" ", "\u00a0", 3),
            lambda t: t,
        ),
    )

    def words(t):
        return set(re.findall(r"#?[A-Za-z]+\d#?|[가-힣]+", t))

    for row in SAMPLE.itertuples():
        slip = draw.choice(slips)
        frame = frame_of([(slip(row.dialogue), tuple(map(slip, row.summaries)))])
        cleaned = repaired(frame)
        before, after = (len(words(f["dialogue"][0]) & words(f["summaries"][0][0])) for f in (frame, cleaned))
        assert after >= before, (row.fname, frame["summaries"][0], cleaned["summaries"][0])
        again = repaired(cleaned)
        assert again["dialogue"].equals(cleaned["dialogue"]) and again["summaries"].equals(
            cleaned["summaries"]
        )


# tags that have lost a sign


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("#Person1과 #Person2는 간다.", "#Person1#과 #Person2#는 간다."),
        ("＃Person1은 ＃Person2와", "#Person1#은 #Person2#와"),
        ("#Person1의 #Person2", "#Person1#의 #Person2#"),
        ("#Person1#은 #Person2와 #Person3을", "#Person1#은 #Person2#와 #Person3#을"),
        ("#Person1은 #3 출구로", "#Person1#은 #3 출구로"),
        ("#Person2의 #맛집", "#Person2#의 #맛집"),
        ("#Person1 #Person2", "#Person1# #Person2#"),
        ("Person1 #맛집", "#Person1# #맛집"),
        ("#Person1 3명", "#Person1# 3명"),
        ("#Address 3층, #Person 2가", "#Address# 3층, #Person2#가"),
        ("# Person1 #은 # Person 2 #와", "#Person1#은 #Person2#와"),
        ("#Person1 #: 응", "#Person1#: 응"),
        ("#날씨#Ferson1#", "#날씨##Person1#"),
        ("Person1#Person2#과", "#Person1##Person2#과"),
        ("#은Person1#", "#은#Person1#"),
        ("##Person1##", "#Person1#"),
    ],
)
def test_a_sign_belongs_to_the_word_that_it_touches(text, mended):
    assert mend(text) == mended == mend(mended)


@pytest.mark.parametrize(
    "text",
    [
        "#Version 2",
        "#Personal",
        "#Game",
        "APerson1#",
        "#Emails",
        "#Person1234",
        "#Address1#",
        "C#과 #1 상품",
        "#맛집 #카페",
    ],
)
def test_what_is_no_slip_keeps_its_letters_and_digits(text):
    assert mend(text) == text


PIECES = st.sampled_from(
    [
        *(
            f"{before}Person{n}{after}"
            for n in (1, 2, 12)
            for before in ("#", "", "＃", "# ", "##")
            for after in ("#", "", "＃", " #")
        ),
        "#PhoneNumber#",
        "#PhoneNumber",
        "Address#",
        "#",
        "＃",
        "은",
        "과",
        "에게",
        "의",
        "3",
        "10",
        " ",
        " ",
        " ",
        ": ",
        ", ",
        "\n",
        "맛집",
        "출구로",
        "간다.",
    ]
)


def without_tags(text):
    "What mending must keep, in order: all but signs, blanks and the letters of tags"
    return re.sub(r"[#＃\s]|Person|PhoneNumber|Address", "", text)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.lists(PIECES, max_size=9).map("".join))
def test_mending_keeps_particles_digits_and_words_and_is_done_once(text):
    mended = mend(text)
    assert without_tags(mended) == without_tags(text) and mend(mended) == mended
    dialogue, summaries = mend_pair(f"#Person1#: {text}", (text, f"{text} 끝"))
    assert [without_tags(s) for s in summaries] == [without_tags(text), without_tags(f"{text} 끝")]
    assert mend_pair(dialogue, summaries) == (dialogue, summaries)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(PIECES.filter(lambda piece: ":" not in piece and "\n" not in piece), max_size=9).map("".join))
def test_a_summary_is_mended_as_the_same_words_of_its_dialogue(text):
    dialogue, (summary,) = mend_pair(f"Person1: {text} 응", (f"{text} 응",))
    assert dialogue == f"#Person1#: {summary}".replace(":  ", ": ") or dialogue.endswith(summary)


@pytest.mark.parametrize("slip", [r"#Person\1", r"Person\1#", r"＃Person\1", r"# Person\1 #", r"#person\1"])
def test_cleaning_undoes_a_sign_lost_from_every_tag(slip):
    def halved(text):
        return re.sub(r"#Person(\d+)#", slip, text)

    cleaned = repaired(
        SAMPLE.assign(
            dialogue=SAMPLE["dialogue"].map(halved),
            summaries=[tuple(map(halved, s)) for s in SAMPLE["summaries"]],
        )
    )
    assert cleaned["dialogue"].equals(SAMPLE["dialogue"].map(mend)) and cleaned["summaries"].equals(
        SAMPLE["summaries"]
    )


def test_a_line_end_of_a_summary_that_a_mended_tag_shows_is_one():
    pair = mend_pair("Person1: 응", ("간다.\\nPerson1: 온다.", "간다.\\n#person1#: 온다. 간다.\\n끝"))
    assert pair == mend_pair(*pair)


def test_mending_needs_no_stack():
    assert mend("&" + "amp;" * 1500 + "lt;") == "<"


# escapes and colons


@pytest.mark.parametrize(
    "written",
    [
        "{a}\\n{b}",
        "{a}\\\\n{b}",
        "{a}\\r\\n{b}",
        "{a}_x000D_\n{b}",
        "{a}_x000d_{b}",
        "{a} \\n {b}",
        "{a}\\n\n{b}",
    ],
)
def test_a_line_end_that_was_written_out_is_a_line_end(written):
    a, b = "#Person1#: 안녕.", "#Person2#: 응, 안녕."
    text = written.format(a=a, b=b)
    assert mend(text).replace("\n ", "\n") in (f"{a}\n{b}", f"{a}\n\n{b}") and control(text)
    if "\n" in written or "_x000" in written:
        assert mend(written.format(a=a, b="반가워.")).split("\n")[0] == a  # within a turn, too
    assert (
        mend((written + "\\n{a}").format(a="안녕.", b="반가워.")).split("\n")[0].strip() == "안녕."
    )  # all that parts its lines


@pytest.mark.parametrize("end", ["\\n", "_x000D_", "\\r\\n"])
def test_one_at_the_very_end_leaves_no_empty_turn(end):
    assert mend("#Person1#: 안녕." + end) == "#Person1#: 안녕."


@pytest.mark.parametrize(
    "text",
    [
        "#Person1#: 파이썬에서 \\n 은 줄 바꿈이야.",
        "#Person1#: C:\\네트워크\\n드라이브",
        "C:\\n드라이브\\n폴더",
        "#Person1#: \\n 이 뭐야?\n#Person2#: \\n 은 줄 바꿈이고 \\n\\n 은 두 줄이야.",
    ],
)
def test_an_escape_that_people_speak_of_stays(text):
    assert mend(text) == text and not control(text)
    assert mend_pair(text, ("줄 바꿈을 \\n 으로 쓴다.",)) == (text, ("줄 바꿈을 \\n 으로 쓴다.",))


def test_line_ends_of_a_summary_are_mended_though_its_dialogue_is_right():
    frame = frame_of(
        [
            ("#Person1#: 가자.\n#Person2#: 응.", ("#Person1#은 간다.\\n#Person2#도 간다.\\n",)),
            ("#Person1#: 가자.\\nPerson2: 응.", ("간다.\\n",)),
        ]
    )
    cleaned = repaired(frame)
    assert cleaned["summaries"][0] == ("#Person1#은 간다.\n#Person2#도 간다.",)
    assert cleaned["dialogue"][1] == "#Person1#: 가자.\n#Person2#: 응." and cleaned["summaries"][1] == (
        "간다.",
    )


@pytest.mark.parametrize(
    "text", ["Person 1명만 나와.", "Person 10은 영화야.", "#Person1#: Person 1명만 나와."]
)
def test_a_word_and_a_number_are_no_tag(text):
    found = check(dict(train=frame_of([(text, ("Person 1명이 나온다.",))]))).findings
    assert mend(text) == text and not [f for f in found if f.kind == "broken_tag"]


def test_a_name_with_a_blank_is_a_speaker_where_turns_open_so():
    pair = (
        "Person 1: 안녕 Person 2: 응\nPerson 2: Person 1아, Person 3명이야.",
        ("Person 2는 Person 3명이라고 한다.",),
    )
    found = check(dict(train=frame_of([pair]))).findings
    assert {f.where for f in found if f.kind == "broken_tag"} == {"dialogue", "summary"}
    assert mend_pair(*pair) == (
        "#Person1#: 안녕\n#Person2#: 응\n#Person2#: #Person1#아, Person 3명이야.",
        ("#Person2#는 Person 3명이라고 한다.",),
    )


def test_masks_of_other_data_sets_are_known():
    dialogue, summary = (
        "#Person1#: #@이름#아 어디야?\n#Person2#: #@소속# 앞이야 #@시스템#사진#",
        "#@이름#은#@소속#에서 #@시스템#사진#을 보낸다.",
    )
    found = check(
        dict(
            train=frame_of(
                [(dialogue, (summary,)), (dialogue.replace("어디", "거기"), ("#Weather#을 묻는다.",))]
            )
        )
    ).findings
    assert [(f.fname, f.what) for f in found if f.kind == "unknown_tag"] == [("t_1", "#Weather#")]
    assert not [f for f in found if f.kind in ("broken_tag", "foreign_tag")]


def test_a_path_and_a_quoted_escape_stay():
    for text in ("#Person1#: C:\\new 폴더야.", '#Person1#: "\\n"을 써.'):
        assert mend(text) == text and not control(text)


def test_files_with_written_out_line_ends_are_read_as_turns(tmp_path):
    for name, end in dict(literal="\\n", double="\\\\n", carriage="\\r\\n", excel="_x000D_\n").items():
        (tmp_path / f"{name}.csv").write_text(
            f'fname,dialogue,summary\nt_0,"#Person1#: 안녕.{end}#Person2#: 응.",인사한다.{"_x000D_" if name == "excel" else ""}\n',
            encoding="utf-8",
        )
        row = read(tmp_path / f"{name}.csv", summaries=True).iloc[0]
        assert row["dialogue"] == "#Person1#: 안녕.\n#Person2#: 응." and row["summaries"] == ("인사한다.",), (
            name
        )
    (tmp_path / "path.csv").write_text("fname,dialogue\nt_0,#Person1#: C:\\new 폴더야.\n", encoding="utf-8")
    assert read(tmp_path / "path.csv")["dialogue"][0] == "#Person1#: C:\\new 폴더야."


def test_a_full_width_colon_opens_a_turn_and_is_mended():
    text = "#Person1#： 안녕.\n#Person2# ： 응: 그래."
    assert Dialogue("", text).speakers == ["#Person1#", "#Person2#"] and unusual_turns(text)
    assert mend(text) == "#Person1#: 안녕.\n#Person2#: 응: 그래." and not unusual_turns(mend(text))
    assert mend("#Person1#： 안녕. #Person2#： 응.") == "#Person1#: 안녕.\n#Person2#: 응."


def test_names_with_a_blank_that_cannot_be_seen_are_the_names(tmp_path):
    (tmp_path / "rows.csv").write_text("fname,dialogue\n\u00a0t_0\u00a0,#Person1#: 응\n", encoding="utf-8")
    assert read(tmp_path / "rows.csv")["fname"].tolist() == ["t_0"]


# the whole stage


@pytest.fixture
def bare_files(tmp_path):
    rows = pd.DataFrame(
        dict(
            fname=SAMPLE["fname"],
            dialogue=SAMPLE["dialogue"].map(bare),
            summary=[bare(s[0]) for s in SAMPLE["summaries"]],
        )
    )
    rows.head(24).to_csv(tmp_path / "train.csv", index=False)
    rows.iloc[24:32].to_csv(tmp_path / "dev.csv", index=False)
    return dict(
        train_csv=str(tmp_path / "train.csv"), dev_csv=str(tmp_path / "dev.csv"), validate_data_quality=True
    )


def test_a_kind_that_hits_every_row_is_named_with_the_option_that_mends_it(bare_files, tmp_path):
    with pytest.raises(DialsumError) as told:
        data(tmp_path, **bare_files)
    said = str(told.value)
    assert "24 of 24" in said and "'broken_tag'" in said and "--clean-data" in said and "'train_" in said, (
        said
    )
    rows = data(tmp_path, **bare_files, clean_data=True).parts["train"]
    assert len(rows) >= 20 and not any(broken_tag(s) for row in rows["summaries"] for s in row)
    assert rows["dialogue"].tolist() == [
        d for f, d in zip(SAMPLE["fname"], SAMPLE["dialogue"]) if f in set(rows["fname"])
    ]


def test_what_no_option_mends_is_not_promised(bare_files, tmp_path):
    rows = pd.read_csv(bare_files["train_csv"], dtype=str)
    rows.assign(
        dialogue=SAMPLE["dialogue"].head(24).tolist(),
        summary=SAMPLE["dialogue"].head(24) + "\n" + SAMPLE["dialogue"].head(24),
    ).to_csv(bare_files["train_csv"], index=False)
    with pytest.raises(DialsumError) as told:
        data(tmp_path, **bare_files)
    said = str(told.value)
    assert "24 of 24 have" in said and "--clean-data" not in said and "quality_threshold" in said, said


def test_bare_tags_are_an_error_of_both_sides():
    found = check(
        dict(train=frame_of([("Person1: 우산 있어?\nPerson2: 응.", ("Person1은 우산을 찾는다.",))]))
    )
    assert {f.where for f in found.findings if f.kind == "broken_tag"} == {"dialogue", "summary"}
