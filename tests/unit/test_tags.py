"One rule for tags, letters and damage: what stands in the dialogue or in a reference may stand in the summary"

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialsum.data.dialogues import read
from dialsum.korean.tags import TAG
from dialsum.runs.places import sample_path

SAYS = {  # a dialogue, and a good summary of it that holds a '#' or letters of another script
    "sharp": (
        "#Person1#: C# 수업 들어?\n#Person2#: 응, F#도 들어.",
        "#Person2#는 C# 수업과 F# 수업을 듣는다.",
    ),
    "hashtag": (
        "#Person1#: 인스타에 #맛집 태그 달아 줘.\n#Person2#: 알았어 #서울맛집 도 달게.",
        "#Person2#는 #맛집과 #서울맛집을 태그로 단다.",
    ),
    "exit": ("#Person1#: #3 출구로 나와.\n#Person2#: 응.", "#Person1#은 #3 출구로 나오라고 한다."),
    "sign": ("#Person1#: 우물정자(#)를 누르세요.\n#Person2#: #요?", "상담원은 #을 누르라고 한다."),
    "film": (
        "#Person1#: Person of Interest 봤어?\n#Person2#: Person 1명만 나와.",
        "#Person1#은 Person of Interest를 봤느냐고 묻는다.",
    ),
    "room": ("#Person1#: 방 번호는 #1205호예요.\n#Person2#: 네.", "방은 #1205호다."),
    "mask": (
        "#Person1#: #@이름#아 어디야?\n#Person2#: 나 지금 #@소속# 앞이야 #@시스템#사진#",
        "#@이름#은 #@소속# 앞에서 #@시스템#사진#을 보낸다.",
    ),
    "bare speakers": ("Person1: 안녕\nPerson2: 응", "Person1은 Person2에게 인사한다."),
    "hanja": (
        "#Person1#: 논어의 學而時習之 뜻이 뭐야?\n#Person2#: 배우라는 뜻이야.",
        "#Person1#은 學而時習之의 뜻을 묻는다.",
    ),
    "kana": (
        "#Person1#: 일본어로 ありがとう가 뭐야?\n#Person2#: 고맙다는 뜻이야.",
        "#Person1#은 ありがとう의 뜻을 묻는다.",
    ),
    "greek": ("#Person1#: α값이 얼마야?\n#Person2#: 0.05야.", "#Person2#는 α값이 0.05라고 한다."),
}
DIALOGUES, SUMMARIES = [d for d, _ in SAYS.values()], [s for _, s in SAYS.values()]
BROKEN = [
    "#Ferson1#",
    "#Pson2#",
    "#Person1",
    "Person2#",
    "#Person#",
    "# Person1 #",
    "#Person1##",
    "＃Person1＃",
    "#@이",
]
TELLS_TAGS = ("broken tags", "not in their dialogue", "neither Hangul nor Latin")


@pytest.mark.parametrize("name", SAYS)
def test_what_the_dialogue_says_is_no_fault_of_a_score(name):
    from dialsum.scores.rouge import rouge

    dialogue, summary = SAYS[name]
    table = rouge([summary] * 3, [("다른 말이다.", "또 다른 말이다.")] * 3, dialogues=[dialogue] * 3)
    assert not [w for w in table.warnings if any(t in w for t in TELLS_TAGS)]
    assert not any(table.diagnostics[k] for k in ("broken_tags", "invented_tags", "foreign"))


def test_a_reference_scored_against_itself_has_no_warning():
    from dialsum.scores.rouge import rouge

    for dialogues in (DIALOGUES, None):
        table = rouge(SUMMARIES, SUMMARIES, dialogues=dialogues)
        assert table.rows["score"]["mean"].f == 100 and table.warnings == []


@pytest.mark.parametrize("name", SAYS)
def test_what_the_dialogue_says_is_no_fault_of_a_summary(name):
    from dialsum.scores.summary_errors import faults

    dialogue, summary = SAYS[name]
    [found] = faults([summary], [dialogue])
    assert not {"broken_tag", "wrong_speaker", "foreign"} & set(found)


@pytest.mark.parametrize("name", SAYS)
def test_what_the_dialogue_says_is_no_fault_of_an_answer(name):
    from dialsum.api.judgement import answer_faults

    dialogue, summary = SAYS[name]
    assert not {"tags", "hangul"} & set(answer_faults(summary, dialogue))


@pytest.mark.parametrize("name", SAYS)
def test_what_the_dialogue_says_costs_no_candidate_of_an_ensemble(name):
    from dialsum.ensemble.stacking import FEATURES, overlap

    dialogue, summary = SAYS[name]
    seen = dict(zip(("precision", "pairs", "coverage", "tags"), overlap(summary, dialogue, str.split)))
    assert "tags" in FEATURES and seen["tags"] == 0
    assert overlap("#Ferson1#은 간다.", dialogue, str.split)[3] == 1


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("name", [n for n in SAYS if n not in ("sign", "bare speakers")])
def test_a_broken_tag_stays_broken_beside_other_signs(name, broken):
    from dialsum.korean.tags import broken_tags

    dialogue, summary = SAYS[name]
    assert broken_tags(f"{broken}은 간다. {summary}", dialogue)
    assert broken_tags(f"{broken}은 간다.", dialogue, summary)


def test_a_reference_excuses_what_its_dialogue_does_not_have():
    from dialsum.korean.tags import broken_tags, foreign, invented_tags
    from dialsum.scores.rouge import rouge

    text, dialogue = "#Person3#은 C#과 α를 배운다.", "#Person1#: 씨샵 배워."
    assert broken_tags(text, dialogue) and invented_tags(text, dialogue) and foreign(text, dialogue)
    assert not (
        broken_tags(text, dialogue, text)
        or invented_tags(text, dialogue, text)
        or foreign(text, dialogue, text)
    )
    table = rouge([text, "#Person1#은 씨샵을 배운다."], [text] * 2, dialogues=[dialogue] * 2)
    assert not table.diagnostics["broken_tags"] and not table.diagnostics["foreign"]


def test_a_warning_says_what_was_counted_in_the_references():
    from dialsum.scores.rouge import rouge

    bad, dialogue = "#Ferson1#은 간다.", "#Person1#: 간다.\n#Person2#: 응."

    def told(references, dialogues):
        table = rouge([bad] * 4, references, dialogues=dialogues)
        return next(w for w in table.warnings if "broken tags" in w)

    clean = ["#Person1#은 간다."] * 4
    assert "the references hold none" in told(clean, [dialogue] * 4)
    assert "25.0% of the references do" in told(["#Pson1#은 온다.", *clean[1:]], [dialogue] * 4)
    assert "references" not in told(clean, None).split(":")[-1] or "dialogues were not given" in told(
        clean, None
    )


def test_references_with_as_many_give_no_warning():
    from dialsum.scores.rouge import rouge

    references = [f"#Pson{i}#은 온다." for i in range(1, 5)]
    predictions = [f"#Ferson{i}#은 온다." for i in range(1, 5)]
    table = rouge(predictions, references, dialogues=["#Person1#: 온다."] * 4)
    assert table.diagnostics["broken_tags"] == 1 and not [w for w in table.warnings if "broken tags" in w]


@pytest.mark.parametrize("name", ["hanja", "kana", "greek", "mask"])
def test_what_the_dialogue_says_is_no_defect_of_a_reference(name):
    from dialsum.data.dialogues import Dialogue
    from dialsum.data.quality import row_findings

    dialogue, summary = SAYS[name]
    kinds = ("script", "unknown_tag", "broken_tag")
    assert not [
        f
        for f in row_findings("train", Dialogue("a", dialogue, (summary,)))
        if f.where == "summary" and f.kind in kinds
    ]
    slipped = row_findings("train", Dialogue("a", "#Person1#: 뜻이 뭐야?", ("#Person1#은 豫約을 묻는다.",)))
    assert [f for f in slipped if f.where == "summary" and f.kind == "script"]


@settings(max_examples=200, deadline=None)
@given(st.text(), st.text())
def test_no_text_breaks_a_rule_that_it_is_measured_against(text, other):
    from dialsum.korean import tags

    plain = re.sub(r"(?:[#＃]\S*)", "", text)
    for measured in (tags.broken_tags, tags.invented_tags, tags.foreign, tags.control_tokens):
        assert not measured(plain, text, other) and isinstance(measured(text, other), (list, str))
    assert (
        not tags.invented_tags(text, text)
        and not tags.foreign(text, text)
        and not tags.control_tokens(text, text)
    )


def test_real_masks_of_the_sample_are_tags():
    from dialsum.korean.tags import KNOWN_TAG, broken_tags, foreign, invented_tags

    for part in ("train", "dev"):
        rows = read(sample_path() / f"{part}.csv", summaries=True)
        for dialogue, (summary, *_) in zip(rows["dialogue"], rows["summaries"]):
            assert all(KNOWN_TAG.fullmatch(tag) for tag in TAG.findall(dialogue)), dialogue
            assert not (
                broken_tags(summary, dialogue)
                or invented_tags(summary, dialogue)
                or foreign(summary, dialogue)
            )


def test_people_s_summaries_of_real_dialogues_hold_nothing_of_the_kind(shared):
    from dialsum.korean.tags import (
        broken_tags,
        control_tokens,
        foreign,
        invented_tags,
        is_literal_nothing,
        lacks_hangul,
    )

    rows = read(shared / "data" / "kodialogsum" / "dev.csv", summaries=True)
    for dialogue, (summary, *_) in zip(rows["dialogue"], rows["summaries"]):
        assert not (
            broken_tags(summary, dialogue)
            or invented_tags(summary, dialogue)
            or foreign(summary, dialogue)
            or control_tokens(summary, dialogue)
            or is_literal_nothing(summary)
            or lacks_hangul(summary)
        ), summary


def test_masks_of_another_data_set_are_scored_without_a_warning(shared):
    from dialsum.scores.files import score_files

    folder = shared / "cases" / "data"
    assert score_files(folder / "masks_pred.csv", folder / "masks.csv").warnings == []


class Steps:
    "Counts the characters at which the search for fragments begins to read a run"

    def __init__(self, pattern):
        self.pattern, self.read = pattern, 0

    def findall(self, text):
        self.read += sum(
            len(self.pattern.match(text, i)[0]) for i in range(len(text)) if self.pattern.match(text, i)
        )
        return self.pattern.findall(text)


def test_a_run_without_blanks_is_read_once(monkeypatch):
    from dialsum.korean import tags

    steps = Steps(tags.TAG_FRAGMENT)
    monkeypatch.setattr(tags, "TAG_FRAGMENT", steps)
    assert tags.broken_tags("ㅋ" * 2000 + "#Ferson1#") and steps.read <= 2 * 2009
    steps.read = 0
    assert not tags.broken_tags("ㅋ" * 2000, "ㅎ" * 2000) and steps.read == 0


@settings(max_examples=200, deadline=None)
@given(st.text("ab1#＃ㅋ \0P") | st.text("#Person1 은\0"))
def test_fragments_are_what_a_search_from_every_place_finds(text):
    from dialsum.korean import tags

    everywhere = re.compile("\0?[^\\s\0]*[#＃][^\\s\0]*\0?|(?<![A-Za-z])[Pp]erson\\d[^\\s\0]*")
    assert tags.TAG_FRAGMENT.findall(text) == everywhere.findall(text)


@pytest.mark.parametrize("nothing", ["#N/A", "#NULL!", "#NaN#", "＃N/A"])
def test_a_missing_value_that_is_spelled_with_a_sharp_is_that_alone(nothing):
    from dialsum.scores.rouge import rouge
    from dialsum.scores.summary_errors import faults

    dialogue, summary = (
        "#Person1#: 안녕하세요.\n#Person2#: 네, 안녕하세요.",
        "#Person1#은 #Person2#에게 인사한다.",
    )
    found = rouge([summary, nothing, summary], [(summary,)] * 3, dialogues=[dialogue] * 3).diagnostics
    assert found["literal_nothing"] == pytest.approx(1 / 3)
    assert {name for name, share in found.items() if share == pytest.approx(1 / 3)} == {"literal_nothing"}
    assert faults([nothing], [dialogue], [(summary,)]) == [dict(literal_nothing=[nothing])]


def test_a_broken_tag_within_a_text_is_still_one():
    from dialsum.korean.tags import broken_tags

    assert broken_tags("#Person1#은 #N/A라고 한다.", "#Person1#: 없어요.") == ["#N/A라고"]
