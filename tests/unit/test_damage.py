"Each damage of a summary is called by its name: in a score, in its warnings, in the facts and in the report"

import json

import pandas as pd
import pytest
from support.damage import DAMAGE, TOKENIZER
from support.experiments import scored

from dialsum.data.dialogues import read, to_csv
from dialsum.runs.places import sample_path
from dialsum.scores.files import score_files
from dialsum.scores.rouge import rouge
from dialsum.scores.summary_errors import FAULTS, counted

ROWS = pd.concat(
    [read(sample_path() / f"{part}.csv", summaries=True) for part in ("train", "dev")], ignore_index=True
)


GOOD = list(ROWS["summaries"].str[0])


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damage_has_a_diagnostic_and_a_sentence_of_its_own(name):
    spoil, words, _ = DAMAGE[name]
    table = rouge([spoil(text) for text in GOOD], GOOD, dialogues=list(ROWS["dialogue"]))
    assert table.diagnostics[name] > 0.8
    assert [w for w in table.warnings if words in w], table.warnings
    others = [
        w for other, (_, told, _) in DAMAGE.items() if other != name for w in table.warnings if told in w
    ]
    assert not others and not [w for w in table.warnings if TOKENIZER in w]


@pytest.mark.parametrize("name", DAMAGE)
def test_one_damaged_summary_among_many_is_counted(name):
    spoil, words, _ = DAMAGE[name]
    table = rouge([spoil(GOOD[0]), *GOOD[1:]], GOOD, dialogues=list(ROWS["dialogue"]))
    assert table.diagnostics[name] == pytest.approx(1 / len(GOOD))
    assert bool([w for w in table.warnings if words in w]) == (
        name != "lost_tags"
    )  # a summary may do without its speakers


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damage_is_a_fault_with_a_korean_title(name):
    spoil, _, kind = DAMAGE[name]
    spoiled = [spoil(text) for text in GOOD]
    told = counted(spoiled, list(ROWS["dialogue"]), list(ROWS["summaries"]), list(ROWS["fname"]))
    assert told["kinds"][kind]["count"] > 0.8 * len(GOOD) and not told["kinds"][kind]["references"]
    assert FAULTS[kind].title and all("가" <= c <= "힣" or c == " " for c in FAULTS[kind].title)
    if name in (
        "empty",
        "literal_nothing",
        "control_tokens",
    ):  # what was left over is not taken for another fault
        assert {k for k, found in told["kinds"].items() if found["count"] > 0.1 * len(GOOD)} == {kind}


@pytest.mark.parametrize("name", DAMAGE)
def test_the_score_of_files_and_its_json_tell_it(name, tmp_path):
    spoil, words, _ = DAMAGE[name]
    (tmp_path / "dev.csv").write_text(to_csv(ROWS.assign(topic="")))
    pd.DataFrame(dict(fname=ROWS["fname"], summary=[spoil(text) for text in GOOD])).to_csv(
        tmp_path / "predictions.csv", index=False
    )
    told = json.loads(json.dumps(score_files(tmp_path / "predictions.csv", tmp_path / "dev.csv").to_dict()))
    assert told["diagnostics"][name] > 0.8 and any(words in w for w in told["warnings"])


def test_the_command_tells_it(tmp_path, capsys):
    from dialsum.cli import main

    (tmp_path / "dev.csv").write_text(to_csv(ROWS.assign(topic="")))
    pd.DataFrame(dict(fname=ROWS["fname"], summary=["nan"] * len(ROWS))).to_csv(
        tmp_path / "predictions.csv", index=False
    )
    main(
        [
            "score",
            "--predictions",
            str(tmp_path / "predictions.csv"),
            "--references",
            str(tmp_path / "dev.csv"),
        ]
    )
    shown = capsys.readouterr()
    assert "missing value's name ('nan')" in shown.out + shown.err and TOKENIZER not in shown.out + shown.err


@pytest.mark.parametrize("name", [n for n in DAMAGE if n != "empty"])
def test_the_report_tells_it_in_korean(build, name):
    from dialsum.report.document import SECTIONS
    from dialsum.report.experiment import read_experiment
    from dialsum.report.sections.next_steps import every_step

    run, leave = build()
    kind = DAMAGE[name][2]
    faults = dict(
        rows=16, faulty=8, kinds={k: dict(count=8 * (k == kind), references=0, examples=[]) for k in FAULTS}
    )
    leave(
        "evaluate",
        "kobart",
        found=dict(split=scored(40.0, **{name: 0.5, f"reference_{name}": 0.0}), faults=faults),
    )
    e = read_experiment(run)
    assert "KoBART 50.0%" in SECTIONS["scores"](e)
    assert f"| {FAULTS[kind].title} | 50.0% |" in "\n".join(section(e) for section in SECTIONS.values())
    assert FAULTS[kind].title in every_step(e)  # and what can be done about it


def test_the_report_says_what_the_references_hold(build):
    from dialsum.report.document import SECTIONS
    from dialsum.report.experiment import read_experiment

    def told(name, **more):
        run, leave = build(name)
        leave("evaluate", "kobart", found=dict(split=scored(40.0, broken_tags=0.5, **more)))
        return next(
            (
                line
                for line in SECTIONS["scores"](read_experiment(run)).split("\n")
                if "깨진 태그가 있는" in line
            ),
            "",
        )

    assert "참조 요약에는 하나도 없습니다." in told("none", reference_broken_tags=0.0)
    assert "참조 요약에서는 2.0%입니다." in told("some", reference_broken_tags=0.02)
    assert "참조 요약" not in told("unknown")  # an older record did not count them
    assert told("as many", reference_broken_tags=0.5) == ""


def test_facts_without_the_new_diagnostics_are_still_read(build):
    from dialsum.report.document import SECTIONS
    from dialsum.report.experiment import read_experiment

    run, leave = build()
    old = dict(rows=16, faulty=8, kinds=dict(empty=dict(count=8, references=0, examples=[])))
    leave("evaluate", "kobart", found=dict(split=scored(40.0), faults=old))
    texts = {heading: section(read_experiment(run)) for heading, section in SECTIONS.items()}
    assert "| 빈 요약 | 50.0% | 0.0% |" in texts["summary_errors"] and texts["scores"]


# the alarm bell of the tokenizer


def equal_share(predictions, references, tokenizer):
    table = rouge(predictions, references, tokenizer=tokenizer)
    return table.diagnostics["equal_r1_rl"], [w for w in table.warnings if TOKENIZER in w]


def test_the_limit_of_equal_scores_is_each_tokenizer_s_own():
    predictions, references = (
        GOOD,
        GOOD[3:] + GOOD[:3],
    )  # of other dialogues: few words are shared between blanks
    share, warned = equal_share(predictions, references, "word")
    assert share > 0.57 and bool(warned) == (share > 0.8)
    from dialsum.scores.damage import damage_limits

    # nothing was measured for these
    assert not {"equal_r1_rl"} & (set(damage_limits("kiwi")) | set(damage_limits("char")))
    assert damage_limits()["equal_r1_rl"][1] == 0.3 < damage_limits("word")["equal_r1_rl"][1]


def test_a_whitespace_score_of_a_fair_model_is_not_called_broken():
    "57 % of a trained model's summaries have ROUGE-1 = ROUGE-L between blanks: that says nothing about the tokenizer"
    same, other = "#Person1#은 우산을 찾는다.", "#Person1#은 회의를 옮긴다."
    turned = "우산을 #Person1#은 찾는다."
    predictions, references = [other] * 57 + [turned] * 43, [same] * 100
    share, warned = equal_share(predictions, references, "word")
    assert share == 0.57 and not warned
    assert [
        w for w in rouge(predictions, references).warnings if TOKENIZER in w
    ]  # by MeCab that would be much


@pytest.mark.parametrize("name", ["literal_nothing", "no_hangul", "empty", "broken_tags"])
def test_what_is_damaged_says_nothing_about_the_tokenizer(name):
    for tokenizer in ("mecab", "word"):
        share, warned = equal_share([DAMAGE[name][0](text) for text in GOOD], GOOD, tokenizer)
        assert share == 0 and not warned


def test_a_few_words_lost_say_nothing_about_the_tokenizer():
    def without_two(text):
        return " ".join(word for i, word in enumerate(text.split()) if i not in (1, 3))

    for lost in (1, len(GOOD)):
        share, warned = equal_share([without_two(text) for text in GOOD[:lost]] + GOOD[lost:], GOOD, "mecab")
        assert share == 0 and not warned
    share, warned = equal_share([GOOD[1], *GOOD[1:]], GOOD, "mecab")  # one of many that is neither
    assert share == 0 and not warned


# summaries that did not end by themselves


def cut_advice(reached, **settings):
    from dialsum.report.verdicts import advise
    from dialsum.scores.metrics import FaultCounts

    faults = FaultCounts.of(rows=50, kinds=dict(cut=dict(count=49, references=0)))
    settings |= dict(whole_sentences="auto", fitted=dict(tried=["plain", "whole_sentences"]))
    if reached is not None:
        settings |= dict(reached=reached)
    return "--max-new-tokens" in " ".join(
        a.action for a, _ in advise(dict(kobart=[]), dict(kobart=faults), dict(kobart=settings))
    )


@pytest.mark.parametrize("limit", [60, 99, 100, 101, 300])
@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.95])
def test_a_larger_limit_is_advised_where_summaries_reached_it_and_only_there(limit, ratio):
    assert cut_advice(49, max_new_tokens=limit, length_ratio=ratio)
    assert not cut_advice(0, max_new_tokens=limit, length_ratio=ratio)


def test_the_report_says_how_many_reached_the_limit(build):
    from dialsum.report.document import SECTIONS
    from dialsum.report.experiment import read_experiment

    run, leave = build()
    decoding = dict(num_beams=1, do_sample=False, max_new_tokens=100)
    leave("evaluate", "kobart", found=dict(split=scored(40.0), rows=16, reached=4, decoding=decoding))
    leave(
        "evaluate", "qwen3-4b", found=dict(split=scored(39.0), rows=16, decoding=decoding)
    )  # an older record
    section = SECTIONS["scores"](read_experiment(run))
    assert "| 한도에 닿음 |" in section and "| 25.0% |" in section
    assert [line for line in section.split("\n") if line.startswith("| Qwen3-4B | 100 | – |")]


def test_an_engine_counts_over_all_of_its_groups():
    from dialsum.generation.decoding import Decoding
    from dialsum.generation.engines import Engine

    class Grouped(Engine):
        def __init__(self):
            self.reached, self.overall_progress, self.seed = [], None, 42

        def _call_decoding(self, options):
            assert options == {}
            return Decoding()

        def groups(self, texts):
            return [[0, 2], [1]]

        def _group(self, texts, instructions, options):
            self.reached = [text == "long" for text in texts]
            return texts

    made = Grouped()
    assert made._summaries(["long", "short", "long"], None, {}) == ["long", "short", "long"]
    assert made.reached == [True, False, True]


@pytest.mark.parametrize(
    ("seq2seq", "written", "expected"),
    [
        (
            True,
            [[5, 5, 5], [5, 5, 1], [5, 1]],
            [True, False, False],
        ),  # 4 tokens: the last would be a forced end
        (False, [[5, 5, 5, 5], [5, 5, 5], []], [True, False, False]),
    ],
)
def test_ctranslate2_knows_which_summaries_ended_by_themselves(seq2seq, written, expected):
    from types import SimpleNamespace

    from dialsum.generation.ctranslate2 import CTranslate2
    from dialsum.generation.decoding import Decoding

    made = CTranslate2.__new__(CTranslate2)
    made.loaded = SimpleNamespace(card=SimpleNamespace(seq2seq=seq2seq))
    made.codec = SimpleNamespace(source=lambda text, instruction: [0], text=lambda ids: "네")
    made.names, made.whole, made._bar, made.decoding = ["a"], False, None, Decoding(max_new_tokens=4)
    made._ends = lambda d: [1]
    made.check = made._check_room = lambda *given: None
    made._search = lambda sources, d: written
    assert made._group(["응."] * 3, None, {}) == ["네"] * 3 and made.reached == expected
