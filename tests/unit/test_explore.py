"""What notebooks show of objects: other people's text stays text, both themes can be read; and two experiments beside each other"""

import ast
import json
import re
from html.parser import HTMLParser

import numpy as np
import papermill
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from support.experiments import fact_of
from support.places import ROOT

from dialsum.checks.diagnosis import Diagnosis
from dialsum.checks.finding import Finding
from dialsum.checks.preflight import Preflight
from dialsum.data.dialogues import Dialogue, read, to_csv
from dialsum.report.cases import Case, read_cases, read_systems
from dialsum.report.comparison.changes import (
    changed_code,
    changed_data,
    changed_options,
    other_values_in_force,
)
from dialsum.report.comparison.document import render_comparison
from dialsum.report.comparison.experiments import compare_experiments
from dialsum.report.comparison.pairs import check_comparable
from dialsum.report.experiment import Experiment, read_experiment
from dialsum.runs.errors import DialsumError
from dialsum.runs.files import sha256, to_json
from dialsum.runs.places import sample_path
from dialsum.runs.records import SCHEMA
from dialsum.scores.escaping import plain_markdown
from dialsum.scores.matches import find_matches
from dialsum.scores.rouge import ScoreTable, rouge
from dialsum.scores.shown_texts import shown_text
from dialsum.scores.significance import Score
from dialsum.scores.tokenizers import make_tokenizer

HELL = [
    "a|b",
    "\\|",
    "# 제목",
    "```",
    "<script>alert(1)</script>",
    "</div></pre>",
    "<!--",
    "<img src=x onerror=alert(1)>",
    "*굵게* _기울임_ ~~줄~~",
    "[링크](javascript:x)",
    "줄\n바꿈\r\n둘\u2028셋",
    "\0\x07\x1b[31m",
    "\u202e거꾸로",
    "$x$",
    "&lt;b&gt;",
    "---",
    '" onclick="x',
    "' style='x",
    "1. 목록",
    "",
    " ",
    "긴" * 300,
    "😀",
    "漢字",
    "`코드`",
    "#Person1#",
    "#1",
    "\ud83d",
    "http://a.b",
]
ENVIRONMENT = dict(
    python="3.11.7",
    system="Linux",
    cores=2,
    gpus=[],
    packages={"torch": "2.13.0"},
    package_code="0123",
    commit="a" * 40,
    dirty=False,
)


class Page(HTMLParser):
    "What a browser would make of it: elements, their attributes, and the text"

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> ends nothing"

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")


def check_html(text, *shown):
    "No element but plain ones, nothing that runs, no colour of text or ground, and the texts as they are"
    page = Page(text)
    assert not page.open and {tag for tag, _ in page.elements} <= {
        "div",
        "p",
        "b",
        "u",
        "i",
        "code",
        "small",
        "pre",
        "a",
        "span",
        "table",
        "tr",
        "th",
        "td",
    }
    assert {name for _, attributes in page.elements for name in attributes} <= {"style", "href"}
    for _tag, attributes in page.elements:
        assert not re.search(r"(?<![-\w])(color|background[-\w]*)\s*:", attributes.get("style") or ""), (
            attributes
        )
        assert not attributes.get("href") or attributes["href"].startswith(("https://", "http://"))
    for s in shown:
        assert s in page.text, s


def check_markdown(text):
    "Tables keep their columns, and nothing of it is HTML but what marks matches"
    assert not re.search(
        r"(?<!\\)<(?=[A-Za-z/!?])(?!/?(?:b|ins|details|summary|br)>)", re.sub(r"(?<!\\)`[^`]*`", "", text)
    ), text
    assert not re.search("[\0\x07\x1b\u2028\u202e]", text)
    for block in text.split("\n\n"):
        lines = block.split("\n")
        if lines[0].startswith("|"):
            assert (
                len({len(re.findall(r"(?:\\.|[^|\\])*", line.strip()[1:-1])[::2]) for line in lines}) == 1
            ), block


def readable(text):
    return text.encode("utf-8", "replace").decode()  # a notebook cannot hold half an emoji


# objects show themselves


@pytest.mark.parametrize("hell", HELL)
def test_every_object_shows_hostile_text_as_text(hell):
    hell = readable(hell)
    check_html(
        Dialogue(hell, f"#Person1#: {hell}\n{hell}", (hell,), hell)._repr_html_(),
        hell.split("\n")[-1].split("\r")[-1],
    )
    check_html(
        Preflight(
            {
                "kobart": [
                    Finding.error("as_written", hell, what=hell, why=hell, remedy=hell),
                    Finding(hell, "as_written", "", dict(what="", why="", remedy="")),
                ],
                hell: [],
            },
            1.0,
        )._repr_html_(),
        hell.replace("`", ""),
    )
    check_html(Diagnosis(hell, hell, hell, hell, hell, (hell,))._repr_html_(), hell.replace("`", ""))
    case = Case(
        Dialogue("x", f"#Person1#: {hell}", (f"정답 {hell}",)), {hell or "x": hell, "y": f"{hell} 정답"}
    )
    check_html(case._repr_html_())
    check_markdown(case.markdown())
    check_html(find_matches(hell, hell)._repr_html_())
    check_markdown(
        Experiment(
            hell,
            None,
            [
                fact_of(stage=s, model=hell or "x", status="success", seconds=1)
                for s in ("train", hell or "x")
            ],
        )._repr_markdown_()
    )
    row = dict.fromkeys(("rouge1", "rouge2", "rougeL", "mean"), Score(1.0, 1.0, 1.0))
    check_markdown(
        ScoreTable(
            1, "f1x100", dict(score=row, null=None, lead2=None), np.zeros((1, 4)), [hell], {}
        )._repr_markdown_()
    )


def test_speakers_are_told_apart_without_colour():
    d = Dialogue("x", "\n".join(f"#Person{i}#: 말" for i in range(1, 8)))
    bars = [a["style"] for _, a in Page(d._repr_html_()).elements if "border-left" in (a.get("style") or "")]
    assert (
        len(set(bars)) == 7
        and len({re.search("4px (.*?);", b)[1] for b in bars}) == 7
        and all(f"#Person{i}#" in d._repr_html_() for i in range(1, 8))
    )


def test_terminals_get_text():
    case = Case(Dialogue("x", "#Person1#: 말", ("정답이다.",)), {"a": "정답이다."})
    for shown in (
        repr(case),
        repr(find_matches("정답", "정답")),
        repr(Preflight({"kobart": []}, 1.0)),
        repr(Experiment("x", None, [])),
        str(Diagnosis("k", "c", "r", "P1", "", ())),
    ):
        assert "<" not in shown and shown.strip()


# marks

texts = st.lists(
    st.sampled_from(
        [
            "#Person1#",
            "#Person2#",
            "은",
            "는",
            "회의",
            "를",
            " ",
            "  ",
            "옮긴다",
            ".",
            "네 시",
            "<b>",
            "|",
            "\n",
            "漢字",
            "😀",
            "a",
            *HELL[:12],
        ]
    ),
    max_size=14,
).map("".join)


@settings(max_examples=150, deadline=None)
@given(texts, texts, st.sampled_from(["split", "whole"]), st.sampled_from(["mecab", "char", "word"]))
def test_marks_are_what_the_score_counts(text, other, tags, name):
    found, back = find_matches(text, other, name, tags), find_matches(other, text, name, tags)
    theirs = RougeScorer(["rouge1", "rougeL"], tokenizer=make_tokenizer(name, tags)).score(other, text)

    def f1(*kinds):
        return 2 * found.count(*kinds) / max(1, len(found.tokens) + len(back.tokens))

    assert (
        abs(f1("order", "elsewhere") - theirs["rouge1"].fmeasure) < 1e-9
        and abs(f1("order") - theirs["rougeL"].fmeasure) < 1e-9
    )
    assert found.count("order", "elsewhere") == back.count("order", "elsewhere") and found.count(
        "order"
    ) == back.count("order")
    assert "".join(t for t, _ in found.pieces) == found.text and len(found.text) == len(text)
    assert (
        Page(found._repr_html_()).text == found.text.replace("\r\n", "\n").replace("\r", "\n")
        or "\0" in text
        or "\r" in text
    )
    check_markdown(f"| a |\n| --- |\n| {found.markdown()} |")


@given(st.text())
def test_plain_markdown_is_one_line_with_the_same_letters(text):
    line = plain_markdown(text)
    assert "\n" not in line and [c for c in line if c.isalnum()] == [
        c for c in text if c.isalnum() and not "\ud800" <= c <= "\udfff"
    ]


def test_kiwi_is_refused():
    with pytest.raises(DialsumError, match="mecab, char or word"):
        find_matches("했다", "했다", "kiwi")


# two experiments


@pytest.fixture(scope="module")
def rows():
    return read(sample_path() / "dev.csv", summaries=True)


@pytest.fixture
def build(tmp_path, rows):
    "A function that leaves an experiment's folder: what a model wrote, and what its facts say"

    def experiment(
        name, written, rows=rows, environment=ENVIRONMENT, signature=None, params=(), recipe=(), **options
    ):
        run = tmp_path / name
        (run / "data").mkdir(parents=True)
        (run / "data" / "dev.csv").write_text(to_csv(rows), encoding="utf-8")
        (run / "experiment.json").write_text(
            to_json(
                dict(
                    schema=SCHEMA,
                    experiment=name,
                    created="2026-11-21T01:00:00+00:00",
                    options=options,
                    environment=environment,
                )
            ),
            encoding="utf-8",
        )
        for model, texts in written.items():
            file = run / model / "predictions_dev.csv"
            file.parent.mkdir()
            written = rows.assign(
                summary=[text.replace("\0", "") for text in texts]
            )  # which no file of rows can hold
            file.write_text(written[["fname", "summary"]].to_csv(index=False), encoding="utf-8")
            split = rouge(texts, list(rows["summaries"])).to_dict()
            if signature:
                split["signature"] = signature
            common = dict(
                schema=SCHEMA,
                experiment=name,
                model=model,
                fold=None,
                status="success",
                started="2026-11-21T01:00:00+00:00",
                finished="2026-11-21T01:00:01+00:00",
                seconds=1,
                identity="",
                environment=environment,
                error=None,
            )
            for stage, more in dict(
                train=dict(metrics=dict(recipe=dict(recipe)), inputs={}, outputs={}),
                evaluate=dict(
                    metrics=dict(split=split),
                    inputs={"data/dev.csv": sha256(run / "data" / "dev.csv")},
                    outputs={f"{model}/predictions_dev.csv": sha256(file)},
                ),
            ).items():
                (run / model / f"{stage}.json").write_text(
                    to_json(common | more | dict(stage=stage, params=dict(run=str(run)) | dict(params))),
                    encoding="utf-8",
                )
        return run

    return experiment


@pytest.fixture(scope="module")
def poor(rows):
    return [d.split(":", 1)[1].strip()[:20] for d in rows["dialogue"]]


@pytest.fixture(scope="module")
def good(rows):
    return [s[0][:-6] for s in rows["summaries"]]


def test_a_real_difference_is_told_with_its_interval_and_p(build, poor, good):
    c = compare_experiments(build("a", dict(kobart=poor)), build("b", dict(kobart=good)))
    [p] = c.pairs
    assert (
        p.difference.f > 30
        and 0 < p.difference.low < p.difference.f < p.difference.high
        and p.p < 0.001
        and p.significant
        and p.turned == (16, 0, 0)
    )
    assert abs(p.means[1] - p.means[0] - p.difference.f) < 1e-4
    first = c._repr_markdown_().split("###")[0]
    assert (
        f"{p.difference.f:.2f}점 올랐습니다" in first
        and "p < 0.001" in first
        and "통계적으로 유의한 차이입니다" in first
    )


def test_the_command_compares_several(build, poor, good, typed, tmp_path):
    runs = [
        build("first", dict(kobart=poor)),
        build("second", dict(kobart=good)),
        build("third", dict(kobart=poor)),
    ]
    done = typed("report", *runs, "--reports", tmp_path / "reports")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "reports" / "first_vs_second_vs_third.md"
    assert done.stdout.split() == [str(path), str(path.with_suffix(".html"))]
    assert (
        path.read_text() == render_comparison(runs) and "<script" not in path.with_suffix(".html").read_text()
    )
    assert typed("report", runs[0], "nowhere", "--reports", tmp_path / "reports").returncode == 2


def test_equal_experiments_do_not_differ(build, poor):
    c = compare_experiments(build("a", dict(kobart=poor)), build("b", dict(kobart=poor)))
    assert (
        c.pairs[0].p == 1
        and not c.pairs[0].significant
        and "모든 대화에서 같습니다" in c._repr_markdown_()
        and "모두 같습니다" in c._repr_markdown_()
    )


def test_a_difference_in_one_dialogue_is_not_called_one(build, poor, good):
    c = compare_experiments(build("a", dict(kobart=poor)), build("b", dict(kobart=[good[0], *poor[1:]])))
    assert c.pairs[0].difference.f > 0 and c.pairs[0].p == 1 and "우열을 가릴 수 없는" in c._repr_markdown_()


def test_rows_in_another_order_are_paired_by_name(build, rows, poor, good):
    a, b = (
        build("a", dict(kobart=good)),
        build("b", dict(kobart=good[::-1]), rows=rows[::-1].reset_index(drop=True)),
    )
    assert compare_experiments(a, b).pairs[0].turned == (0, 0, 16)


def test_many_pairs_are_corrected_for(build, poor, good):
    some = [good[i] if i < 6 else t for i, t in enumerate(poor)]
    models = ("kobart", "qwen3-4b", "solar-10.7b")
    pairs = compare_experiments(
        build("a", dict.fromkeys(models, poor)),
        build("b", dict.fromkeys(models, some)),
        build("c", dict.fromkeys(models, some)),
    ).pairs
    assert (
        len(pairs) == 6
        and all(p.p_holm >= p.p for p in pairs)
        and max(p.p_holm for p in pairs) > 5 * min(p.p for p in pairs)
    )


def test_what_cannot_be_compared_is_refused_and_kept_apart(build, rows, poor):
    first = build("a", dict(kobart=poor))
    others = dict(
        dev_rows_differ=build("fewer", dict(kobart=poor[1:]), rows=rows[1:].reset_index(drop=True)),
        dev_texts_differ=build(
            "mended", dict(kobart=poor), rows=rows.assign(summaries=[("다른 정답.",), *rows["summaries"][1:]])
        ),
        scorers_differ=build(
            "kiwi", dict(kobart=poor), signature="f1x100|tok:kiwi|tags:split|refs:1|multi:mean"
        ),
    )
    words = dict(
        dev_rows_differ="16 and 15, 15 in both",
        dev_texts_differ="1 of the 16 dev rows",
        scorers_differ="tok:kiwi",
    )
    for code, run in others.items():
        with pytest.raises(DialsumError, match=words[code]):
            check_comparable(read_systems(first)["kobart"], read_systems(run)["kobart"])
        [p] = compare_experiments(first, run).pairs
        assert (
            p.reason[0] == code
            and p.difference is None
            and p.p is None
            and "비교할 수 없" in render_comparison([first, run])
        )


def test_seeds_and_intervals_do_not_make_scores_incomparable(build, poor):
    a = build("a", dict(kobart=poor))
    told = read_systems(a)["kobart"].fact.metrics.signature
    assert (
        "seed=42" in told
        and not compare_experiments(
            a, build("b", dict(kobart=poor), signature=told.replace("seed=42", "seed=7"))
        )
        .pairs[0]
        .reason
    )


def test_files_that_changed_after_the_score_are_refused(build, poor):
    run = build("a", dict(kobart=poor))
    for file in (run / "data" / "dev.csv", run / "kobart" / "predictions_dev.csv"):
        kept = file.read_bytes()
        file.write_bytes(kept + "다,다\n".encode())
        with pytest.raises(DialsumError, match="run the stage again"):
            read_cases(run)
        file.write_bytes(kept)
    assert len(read_cases(run)) == 16


def test_only_options_that_a_person_changed_are_listed(build, poor):
    a = build(
        "a",
        dict(kobart=poor),
        params=dict(num_beams=0, seed=42, tta_test=True),
        recipe=dict(learning_rate=3e-5, epochs=3),
        models=["kobart"],
        scale="full",
        workers=1,
        use_tta=False,
        epochs=3,
        label_smoothing=0.1,
        command="dialsum run --epochs 3 --label-smoothing 0.1",
    )
    b = build(
        "b",
        dict(kobart=poor),
        params=dict(num_beams=4, seed=42, tta_test=False),
        recipe=dict(learning_rate=5e-5, epochs=3),
        models=["kobart"],
        scale="replica",
        workers=2,
        use_tta=True,
        num_beams=4,
        command="dialsum run --scale replica --num-beams 4 --use-tta",
    )
    e = [read_experiment(r) for r in (a, b)]
    assert {change.option: change.values for change in changed_options(e)} == {
        "label_smoothing": ["0.1", "기본값"],
        "scale": ["full(기본값)", "replica"],
        "num_beams": ["자동(기본값)", "4"],
        "use_tta": ["아니요(기본값)", "예"],
    }  # both trained for three epochs, and only one of them had to be told so
    assert [change.option for change in other_values_in_force(e)] == ["learning_rate"]
    text = render_comparison([a, b])
    assert "이 밖에 실제로 적용된 값도 다릅니다: 학습률(3e-05 → 5e-05)." in text
    assert "tta_test" not in text and "--workers" not in text


def test_a_stage_that_failed_is_no_difference_of_options(build, poor):
    a, b = build("a", dict(kobart=poor), models=["kobart"]), build("b", dict(kobart=poor), models=["kobart"])
    file = b / "kobart" / "train.json"
    fact = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(
        to_json(fact | dict(status="failed", metrics={}, params=dict(num_beams=9), error=dict(kind="died"))),
        encoding="utf-8",
    )
    e = [read_experiment(r) for r in (a, b)]
    assert changed_options(e) == other_values_in_force(e) == []
    assert "사람이 바꾼 옵션이 없습니다." in render_comparison([a, b])


def test_data_and_code_are_named_where_they_differ(build, poor, rows):
    other = ENVIRONMENT | dict(packages={"torch": "2.14.0"}, commit="b" * 40, dirty=True)
    a, b = (
        read_experiment(r)
        for r in (
            build("a", dict(kobart=poor)),
            build("b", dict(kobart=poor[1:]), rows=rows[1:].reset_index(drop=True), environment=other),
        )
    )
    assert [part for part, _ in changed_data([a, b])] == ["dev"] and [
        name for name, _ in changed_code([a, b])
    ] == ["커밋", "`torch`"]


def test_a_comparison_of_replicas_shows_references_and_no_text_of_theirs(build, rows, poor, good):
    texts = [dict(kobart=[f"난수글{t}" for t in written]) for written in (poor, good)]
    shown = render_comparison([build("a", texts[0]), build("b", texts[1])])
    assert "난수글" in re.sub("</?(?:b|ins)>", "", shown)
    hidden = render_comparison([build("c", texts[0], scale="replica"), build("d", texts[1], scale="replica")])
    assert "난수글" not in re.sub("</?(?:b|ins)>", "", hidden)
    assert hidden.count(shown_text("", "replica", "ko")) == shown.count("**참조 요약**") * 2 > 0
    assert hidden.count("**참조 요약**") == shown.count("**참조 요약**")


def test_experiments_without_a_common_model_hold_their_best_against_each_other(build, poor, good):
    text = render_comparison(
        [build("a", {"kobart": poor}), build("b", {"qwen3-4b": good, "solar-10.7b": poor})]
    )
    assert "KoBART → Qwen3-4B" in text and "b에만 있는 것: Qwen3-4B, SOLAR-10.7B" in text


def test_an_experiment_without_scores_is_told(build, poor):
    assert "비교할 점수가 없습니다" in render_comparison([build("a", {}), build("b", dict(kobart=poor))])


def test_too_few_experiments_are_refused(build, poor):
    run = build("a", dict(kobart=poor))
    for wrong in ([], [run], [run, run], [run, run / ".." / "a"]):
        with pytest.raises(DialsumError, match="two or more"):
            compare_experiments(*wrong)


@pytest.fixture
def hostile(build, poor, good):
    def say(texts):
        return [t + readable(HELL[i % len(HELL)]).replace("\r", "") for i, t in enumerate(texts)]

    name = "<b>|_x_`*"
    return [
        build(
            name,
            dict(kobart=say(poor)),
            params=dict(odd="a|<i>"),
            environment=ENVIRONMENT | dict(python="<i>|"),
        ),
        build("b", dict(kobart=say(good)), params=dict(odd="`|`")),
    ]


def test_a_comparison_of_hostile_texts_keeps_its_shape(hostile):
    text = render_comparison(hostile)
    check_markdown(text)
    assert [line[3:] for line in text.split("\n") if line.startswith("## ")] == [
        "한눈에 보기",
        "달라진 것",
        "점수의 차이",
        "점수가 가장 많이 달라진 대화",
    ] and len(re.findall("^# ", text, re.M)) == 1
    assert text == render_comparison(hostile) and str(hostile[0].parent) not in text


def test_the_comparison_is_korean(build, poor, good):
    text = render_comparison([build("a", dict(kobart=poor)), build("b", dict(kobart=good))])
    assert not re.search(r"\((?:는|가|를|와|으|이)\)", text) and not re.search(
        r"(?:\b[a-z]{2,}\b[ ,:]+){4}", re.sub("`[^`]*`", "", text)
    )


# the notebooks


FOR_PEOPLE = sorted(p for folder in ("explore", "bench") for p in (ROOT / "nbs" / folder).glob("*.ipynb"))


def test_the_start_page_names_every_notebook_for_people():
    index = (ROOT / "nbs" / "index.ipynb").read_text(encoding="utf-8")
    for path in FOR_PEOPLE:
        assert f"({path.parent.name}/{path.name})" in index, path.name


def is_assignments(source):
    "Whether a cell holds names with types and values alone, as papermill wants parameters"
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a magic
        return False
    return bool(body) and all(isinstance(statement, ast.AnnAssign) for statement in body)


@pytest.mark.parametrize("path", FOR_PEOPLE, ids=lambda p: p.stem)
def test_what_papermill_is_given_reaches_the_notebook(path):
    "A cell of parameters without its tag would be ignored in silence"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", ())]
    untagged = [c for c in cells if c["cell_type"] == "code" and is_assignments("".join(c["source"]))]
    assert tagged == untagged and len(tagged) <= 1
    if tagged:
        given = papermill.inspect_notebook(path)
        names = [s.target.id for s in ast.parse("".join(tagged[0]["source"])).body]
        assert list(given) == names


@pytest.mark.parametrize("path", FOR_PEOPLE, ids=lambda p: p.stem)
def test_a_notebook_for_people_says_why_before_what_and_shows_what_came_of_it(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    head = "".join(cells[0]["source"]).split("\n")
    assert head[0].startswith("# ") and head[1].startswith("> ") and len(head) > 3
    if path.stem != "full_size":
        assert any(c.get("outputs") for c in cells) and not any(
            o["output_type"] == "error" for c in cells for o in c.get("outputs", [])
        )
