"""Diagrams of the report: their arrows are the plan's, and nothing lies over anything else, whatever the plan"""

import re
from datetime import datetime, timedelta
from itertools import combinations

import networkx
import pytest
from support.experiments import HELL
from support.pictures import read_picture
from support.plans import CASES, EVERYTHING, SIX, no_folder, out_of_memory, planned, some_plan

from dialsum.pipeline.failed_stage import with_diagnosis
from dialsum.pipeline.plan import plan_stages
from dialsum.pipeline.spec import StageSpec
from dialsum.report.diagrams.drawing import text_width
from dialsum.report.diagrams.gantt_chart import Bar, Gantt
from dialsum.report.error_charts import error_path
from dialsum.report.experiment import Step
from dialsum.report.reach import stopped_by
from dialsum.report.stage_charts import flowchart, gantt, short_reason
from dialsum.report.stage_order import is_needed, leads_to
from dialsum.report.texts import mermaid_line, mermaid_task
from dialsum.runs.error_facts import make_error

PLANS = [*CASES, *range(25)]


def experiment_of(plan):
    return some_plan(plan) if isinstance(plan, int) else CASES[plan]()


# which stage waits for which


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({}, {}),
        ({}, dict(optimize=True, tta=True)),
        ({}, dict(test=False)),
        (dict(k_folds=3), dict(tta=True)),
        (dict(k_folds=2, ensemble_strategy="stacking"), {}),
        (EVERYTHING, dict(tta=True, optimize=True)),
        (EVERYTHING, dict(tta=True, test=False)),
    ],
)
def test_the_arrows_are_those_of_the_plan(tmp_path, options, more):
    specs = [s for s in plan_stages(tmp_path, ["kobart", "qwen3-4b"], options, **more) if s.stage != "report"]
    steps = {spec.key: Step(spec.stage, spec.model, spec.fold) for spec in specs}
    pairs = [(a, b) for a in steps for b in steps]
    needed = {(a, b) for a, b in pairs if is_needed(steps[a], steps[b])}
    awaited = {(a, b) for a, b in pairs if leads_to(steps[a], steps[b])}
    assert needed == {(key, spec.key) for spec in specs for key in spec.needs}
    assert awaited == {(key, spec.key) for spec in specs for key in (*spec.needs, *spec.after)}


def test_a_prediction_waits_for_the_evaluation_and_is_not_stopped_by_it():
    e = planned(["kobart"], {"kobart/evaluate": out_of_memory()})
    [evaluate] = [s for s in e.steps if s.stage == "evaluate"]
    ids = {s.name: f"s{i}" for i, s in enumerate(e.steps)}
    lines = flowchart(e).mermaid().splitlines()
    assert f"{ids['KoBART 평가']} --> {ids['KoBART 예측']}" in lines
    assert f"{ids['KoBART 학습']} --> {ids['KoBART 예측']}" not in lines
    assert stopped_by(e, [evaluate]) == []


def reached(edges):  # all pairs, of which one leads to the other, points in which arrows meet aside
    graph = networkx.transitive_closure(networkx.DiGraph(edges))
    return {(a, b) for a, b in graph.edges if not a.startswith("j") and not b.startswith("j")}


@pytest.mark.parametrize("plan", PLANS)
def test_an_arrow_that_follows_from_others_is_left_out(plan):
    flow = flowchart(experiment_of(plan))
    drawn = re.findall(r"^(\w+) --[->] (\w+)$", flow.mermaid(), re.M)
    assert len(drawn) == len(set(drawn)) == networkx.transitive_reduction(networkx.DiGraph(drawn)).size()
    if len(flow.grouped.nodes) == len(flow.nodes):
        assert reached(drawn) == reached([(e.start, e.end) for e in flow.edges])


# bars


def check_bars(picture):
    names = [t for t in picture.texts if t.look == "bold"]
    labels = [t for t in picture.texts if not t.look]
    soft = [t for t in picture.texts if t.look == "soft"]
    assert len(labels) == len(picture.bars) and names
    for text in picture.texts:
        assert picture.frame.holds(text), text
    for label in labels:
        assert not [
            n for n in (*names, *(other for other in labels if other is not label)) if n.meets(label)
        ], label
    assert not [pair for pair in combinations(soft, 2) if pair[0].meets(pair[1])]
    assert min(bar.right - bar.left for bar in picture.bars) > 4.99
    assert all(picture.frame.holds(bar) for bar in picture.bars)


@pytest.mark.parametrize("plan", PLANS)
def test_no_label_of_a_bar_lies_over_another_text(plan):
    check_bars(read_picture(gantt(experiment_of(plan)).svg()))


@pytest.mark.parametrize("title", ["긴 이름의 단계 " * 9, "w" * 60, "학습"])
def test_labels_of_any_length_stay_in_the_frame(title):
    begin = datetime(2026, 11, 21)
    places = [(0, 1000), (0, 1), (999, 1), (400, 500), (0, 700), (500, 500), (100, 800)]
    bars = [
        Bar("모델 " * 20, title, begin + timedelta(seconds=start), seconds, state)
        for start, seconds in places
        for state in ("success", "failed")
    ]
    picture = read_picture(Gantt(begin, begin + timedelta(seconds=1000), tuple(bars)).svg())
    check_bars(picture)
    assert sum("실패" in t.text for t in picture.texts) == len(places)
    assert all(re.search(r"\d초|\d분", t.text) for t in picture.texts if not t.look)


def test_a_bar_of_several_says_their_work_and_shows_each():
    e = CASES["folds"]()
    bars = {(b.section, b.title): b for b in gantt(e).grouped}
    train = bars["KoBART", "학습(폴드 5개 포함)"]
    assert train.seconds > 200 and train.work == "합계 1분 26초"  # of six trainings of 14.3 seconds
    for drawing in (gantt(e).svg(), gantt(e).mermaid()):
        assert drawing.count("학습(폴드 5개 포함) 합계 1분 26초") == len(SIX)
    pieces = re.findall('<path class="success" d="([^"]*)"', gantt(e).svg())
    assert [piece.count("M") for piece in pieces[:3]] == [6, 6, 6]


def test_what_is_worst_in_a_bar_of_several_is_said():
    begin = datetime(2026, 11, 21)
    folds = [
        Bar(f"x {k}", "학습", begin + timedelta(seconds=9 * k), 5, state, ("x", "학습"), True)
        for k, state in enumerate(["success", "failed", "success"])
    ]
    assert Bar.of(folds).label(900) == "학습(폴드 3개) 합계 15초 · 실패 1, 성공 2"


def tasks(gantt):  # of mermaid: label → seconds that it is drawn
    lines = re.findall(r"^(.*) :(?:done|crit), t\d+, (.{23}), (.{23})$", gantt.mermaid(), re.M)
    return [(n, (datetime.fromisoformat(b) - datetime.fromisoformat(a)).total_seconds()) for n, a, b in lines]


@pytest.mark.parametrize("plan", PLANS)
def test_mermaid_draws_no_task_without_length(plan):
    chart = gantt(experiment_of(plan))
    drawn = tasks(chart)
    assert len(drawn) == len(chart.grouped)
    assert min(seconds for _, seconds in drawn) >= 0.009 * chart.extent
    short = [seconds for name, seconds in drawn if re.fullmatch(r"[^\d]+ 0\.1초 미만", name)]
    assert not [seconds for seconds in short if seconds > max(chart.extent / 110, 0.05) + 0.002]
    assert short or isinstance(plan, int)


def test_resumptions_that_follow_each_other_are_told_apart():
    e = planned(["kobart"], attempts=[5, 5.5, 6, 20])
    picture = read_picture(gantt(e).svg())
    check_bars(picture)
    assert [t.text for t in picture.texts if "회차" in t.text] == [
        f"이어서 실행({i}회차)" for i in (1, 2, 3, 4)
    ]


# boxes


def check_boxes(picture):
    for text in picture.texts:
        assert sum(box.holds(text) for box in picture.boxes) == 1, text
    assert not [pair for pair in combinations(picture.boxes, 2) if pair[0].meets(pair[1])]
    assert all(picture.frame.holds(box) for box in picture.boxes)
    for points in picture.arrows:
        assert len(points) > 1
        assert not [p for p in points if any(box.has(p) for box in picture.boxes)]


@pytest.mark.parametrize("plan", PLANS)
def test_no_arrow_runs_behind_a_box(plan):
    e = experiment_of(plan)
    check_boxes(read_picture(flowchart(e).svg()))
    for step in e.steps:
        if step.status == "failed":
            check_boxes(read_picture(error_path(e, [step]).svg()))


def test_what_waits_for_the_same_stages_is_led_to_through_one_point():
    e = CASES["demo"]()
    picture = read_picture(flowchart(e).svg())
    assert len(picture.arrows) == 2 + 6 + 6  # to the point, from it, and from each model
    mermaid = flowchart(e).mermaid()
    assert (
        mermaid.count("(( )):::junction") == 1
        and mermaid.count(" --- j0") == 2
        and mermaid.count("j0 --> ") == 6
    )


def test_a_model_of_which_all_succeeded_is_one_box_beside_others():
    boxes = [n.lines for n in flowchart(planned(["kobart", "qwen3-4b"])).grouped.nodes]
    assert ("KoBART", "3개 단계 성공") in boxes and ("Qwen3-4B", "3개 단계 성공") in boxes
    boxes = flowchart(planned(["kobart", "qwen3-4b"], {"kobart/evaluate": out_of_memory()})).grouped.nodes
    assert [n.lines[0] for n in boxes if n.state != "success"] == ["KoBART"]
    assert [n.lines[0] for n in boxes].count("KoBART") == 3
    assert len(flowchart(planned(["kobart"])).grouped.nodes) == len(flowchart(planned(["kobart"])).nodes)


def test_boxes_say_why_a_stage_did_not_succeed():
    e = CASES["broken"]()
    reasons = {s.name: short_reason(s, e.steps) for s in e.steps}
    assert reasons["SOLAR-10.7B 학습"] == "GPU 메모리가 모자랍니다"
    assert reasons["Qwen3-4B 학습"] == "./nowhere 폴더가 없습니다"
    assert reasons["Qwen3-4B 평가"] == reasons["Qwen3-4B TTA"] == "앞 단계 실패: 학습"
    assert reasons["KoBART 학습"] == ""
    svg, mermaid = flowchart(e).svg(), flowchart(e).mermaid()
    assert (
        "<br/>./nowhere 폴더가<br/>없습니다" in mermaid and mermaid.count("<br/>앞 단계 실패#58; 학습") == 8
    )
    assert [t.text for t in read_picture(svg).texts].count("앞 단계 실패: 학습") == 8


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (make_error("exception", "RuntimeError", text="CUDA error"), "RuntimeError"),
        (
            make_error("died", "StageDied", "stage_killed", dict(stage="x", signal="SIGKILL")),
            "단계의 프로세스가 SIGKILL 신호로 끝났습니다",
        ),
        (make_error("exception", ""), "실행 중 예외"),
        (make_error("exception", "E").model_copy(update=dict(cause="가" * 99)), "가" * 36 + "…"),
    ],
)
def test_a_reason_is_a_few_words(error, reason):
    e = planned(["kobart"], {"kobart/train": error})
    [failed] = [s for s in e.steps if s.status == "failed"]
    assert short_reason(failed, e.steps) == reason


def test_a_stage_that_several_stopped_says_how_many():
    failures = {f"kobart/fold{k}/evaluate": out_of_memory() for k in (0, 1)}
    e = planned(["kobart"], failures, options=dict(k_folds=3))
    [blocked] = [s for s in e.steps if s.status == "blocked"]
    assert blocked.stage == "folds" and short_reason(blocked, e.steps) == "앞 단계 실패: 평가 2개"


# the path of an error


def test_the_path_of_an_error_has_five_boxes():
    e = CASES["broken"]()
    [failed] = [s for s in e.steps if s.status == "failed" and s.model == "solar-10.7b"]
    path = error_path(e, [failed])
    assert [n.lines for n in path.nodes] == [
        ("SOLAR-10.7B", "학습 실패"),
        (
            "오류가 난 곳",
            "dialsum/training/loop.py:120 train_model",
            "↳ torch/nn/modules/linear.py:125 forward",
        ),
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB."),
        ("실행되지 않은 단계 4개", "평가, 예측, TTA, 추론 최적화"),
        ("원인", "GPU 메모리가 모자랍니다. 배치가 큽니다."),
    ]
    assert [(e.start, e.end, e.dotted) for e in path.edges] == [
        ("failed", "place", False),
        ("place", "error", False),
        ("error", "stopped", False),
        ("cause", "error", True),
    ]


def test_one_path_is_drawn_of_one_cause():
    failures = {f"{model}/train": no_folder(model) for model in SIX}
    e = planned(SIX, failures, options=dict(k_folds=2), tta=True)
    failed = [s for s in e.steps if s.status == "failed"]
    path = error_path(e, failed)
    assert len(failed) == 6 and len(path.nodes) == 4
    assert path.nodes[0].lines == (
        "학습 실패",
        "KoBART, Llama-3.2-Korean-3B, Qwen3-4B, SOLAR-10.7B 외 2",
    )
    assert path.nodes[-1].lines == ("실행되지 않은 단계 18개", "평가 6개, 예측 6개, TTA 6개")
    some = error_path(e, failed[:1])
    assert some.nodes[-1].lines == ("실행되지 않은 단계 3개", "평가, 예측, TTA")


def test_frames_say_their_package_and_keep_one_of_ours(tmp_path):
    places = [
        "/home/u/project/dialsum/training/loop.py",
        *["/opt/lib/python3.11/site-packages/torch/nn/a.py"] * 7,
    ]
    lines = [f'  File "{place}", line {i}, in f\n    x()' for i, place in enumerate(places)]
    text = "\n".join(["Traceback (most recent call last):", *lines, "ValueError: no"])
    error = with_diagnosis(
        StageSpec(tmp_path, "train", "kobart"), make_error("exception", "ValueError"), text
    )
    assert error.frames == [
        "dialsum/training/loop.py:0 in f",
        *(f"torch/nn/a.py:{i} in f" for i in range(3, 8)),
    ]
    own = 'Traceback (most recent call last):\n  File "/secret/place/mine.py", line 1, in f\nValueError: no'
    error = with_diagnosis(StageSpec(tmp_path, "train", "kobart"), make_error("exception", "ValueError"), own)
    assert error.frames == ["mine.py:1 in f"]


# labels of mermaid


@pytest.mark.parametrize("text", [t for t in HELL if t.strip()])
def test_a_label_keeps_its_characters(text):
    line = mermaid_line(" ".join(text.split()))
    assert not re.search(r'["<>`*~]|%%|&(?!#)|#(?!\d+;)|:|\\(?!\u2060)', line)
    unescaped = re.sub(r"#(\d+);", lambda found: chr(int(found[1])), line).replace("\u2060", "")
    twins = {chr(ord(c) + 0xFEE0): c for c in "*`~_"}
    assert "".join(twins.get(c, c) for c in unescaped) == " ".join(text.split())


def test_ordinary_punctuation_stays():
    text = "train_model() [1] {a} = 'b', 50/60! (c) | d? @e + f - g. h^2 $3"
    assert mermaid_line(text).replace("\u2060", "") == text


@pytest.mark.parametrize("word", ["title", "click s0 call", "Section 1", "2026-01-01"])
def test_a_task_does_not_begin_like_a_word_of_mermaid(word):
    assert mermaid_task(word) == f"\u2060{word}"


def test_mermaid_gives_the_names_of_sections_room():
    begin = datetime(2026, 11, 21)
    bars = [Bar(name, "학습", begin, 5, "success") for name in ("Llama-3.2-Korean-3B 폴드 0", "긴이름" * 20)]
    names = re.findall(
        "^section (.*)$", Gantt(begin, begin + timedelta(seconds=9), tuple(bars)).mermaid(), re.M
    )
    lines = [name.split("<br>") for name in names]
    assert [len(each) for each in lines] == [2, 2]
    assert max(text_width(line) for each in lines for line in each) * 11 / 13 <= 130
