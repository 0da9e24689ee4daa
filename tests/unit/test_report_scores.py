"What a report concludes from scores: of every system, never more than its numbers allow, and each thing once"

import re

import numpy as np
import pytest
from support.experiments import HELL, SIGNATURE, scored
from support.report import cells

from dialsum.report.document import SECTIONS
from dialsum.report.experiment import read_experiment
from dialsum.scores.significance import (
    compare,
    comparison_rows,
    detectable_difference,
    difference_interval,
    mean_interval,
)

HARD = np.array([20.0 + 7 * (i % 8) for i in range(40)])  # dialogues differ far more than systems
GOOD, POOR = 10.0, 80.0  # null rows that every system clears, or none


def table_of(values, null, tags="split", drop=0.0):
    "A table of scores of these dialogues, with the paired differences to its baselines"

    def row(of):
        interval = mean_interval(of, 42)._asdict()
        return {kind: dict(interval) for kind in ("rouge1", "rouge2", "rougeL", "mean")}

    lead2 = HARD[: len(values)] - 9
    values = values - drop
    return scored(0.0) | dict(
        signature=SIGNATURE.format(tags),
        n=len(values),
        **row(values),
        null=row(np.full(len(values), null)),
        lead2=row(lead2),
        differences=dict(null=row(values - null), lead2=row(values - lead2)),
    )


def tables(values, null, drop=12.0):
    return dict(split=table_of(values, null), whole=table_of(values, null - drop, "whole", drop))


def evaluated(leave, model, values, null=GOOD, drop=12.0, params=None, **more):
    leave(
        "evaluate",
        model,
        found=tables(values, null, drop) | dict(per_dialogue=values.tolist()) | more,
        inputs={"data/dev.csv": "d" * 64},
        params=params,
    )


def against(null, best, **systems):
    "Rows of a comparison as stages record them: without p where both systems are at chance"
    values = {best: HARD} | systems
    return comparison_rows(compare(values, best, chance=set(values) if null == POOR else frozenset()))


def with_tta(leave, model, null=GOOD, gain=3.0):
    values = HARD + gain
    leave(
        "tta",
        model,
        found=dict(
            strategies="synonym,mask",
            plain=HARD.mean(),
            gain=against(null, "plain", tta=values)[1],
            rows=40,
            changed=30,
            cost=3.0,
            split=table_of(values, null),
        ),
    )


def with_soup(leave, model, null=GOOD, gain=2.0):
    systems = against(null, "fold1", soup=HARD + gain, fold0=HARD - 1)
    leave("soup", model, found=dict(best_fold="fold1", systems=systems, **tables(HARD + gain, null)))


def with_ensemble(leave, null=GOOD, gain=4.0, strategy="weighted_avg", asked="", **more):
    systems = against(null, "best", mbr=HARD + 0.01, weighted_avg=HARD + gain)
    measure = dict(systems=systems, members=dict(kobart=1.0), mean_single=30.0, oracle=60.0)
    found = dict(
        n=40,
        members=["kobart", "qwen3-4b/tta"],
        best="kobart",
        utility="rouge",
        chance=["best", "mbr", "weighted_avg"] if null == POOR else [],
        strategy=strategy,
        metrics=dict(rouge=measure, chrf=measure),
        **tables(HARD + gain, null),
    )
    leave("ensemble", found=found | more, params=dict(ensemble_strategy=asked))


def with_api(leave, null=GOOD, rows=20, **more):
    values = HARD[:rows] + 9
    difference = difference_interval(values, HARD[:rows], 42)
    compared = dict(
        mean=mean_interval(HARD[:rows], 42)._asdict(),
        difference=dict(n=rows, **dict(zip(("difference", "low", "high"), difference))),
    )
    found = dict(
        model="solar-pro2",
        strategy="few_shot",
        rows=rows,
        answered=rows,
        valid=rows,
        asked_again=0,
        requests=rows,
        retries=0,
        cached=0,
        prompt_tokens=10,
        completion_tokens=5,
        split=table_of(values, null),
        compared=dict(kobart=compared),
    )
    leave("api", found=found | more)


def every_system(build, null=GOOD):
    run, leave = build()
    evaluated(leave, "kobart", HARD, null)
    evaluated(leave, "qwen3-4b", HARD - 3, null)
    with_tta(leave, "qwen3-4b", null)
    with_soup(leave, "kobart", null)
    with_ensemble(leave, null)
    with_api(leave, null)
    return run, leave


def told(run, *names):
    e = read_experiment(run)
    return "\n".join(SECTIONS[name](e) for name in names)


def table_rows(text, head):
    "The cells of the first table whose head begins so"
    lines = text[text.index(f"| {head} |") :].split("\n\n")[0].split("\n")[2:]
    return [[cell.strip() for cell in cells(line)] for line in lines]


# one table of every system


def test_every_system_stands_in_one_table_the_best_first(build):
    run, _leave = every_system(build)
    rows = table_rows(told(run, "scores"), "시스템")
    assert [row[0] for row in rows] == [
        "앙상블(가중 합의)",
        "Qwen3-4B TTA",
        "KoBART 가중치 평균",
        "KoBART",
        "Qwen3-4B",
        "API(solar-pro2), 대화 20개",  # higher, but on other dialogues
        "앞 두 발화 기준",
    ]
    mean, null, above_null, above_lead = (rows[3][i] for i in (1, 5, 6, 7))
    assert mean.startswith(f"{HARD.mean():.2f} [") and null == f"{GOOD:.2f}"
    assert above_null.startswith(f"+{HARD.mean() - GOOD:.2f} [+") and above_lead == "+9.00 [+9.00, +9.00]"


def test_each_table_stands_once_and_what_is_long_is_folded(build):
    run, _leave = every_system(build)
    text = told(run, "scores")
    split, whole = text.split("<summary>태그를 통째로")
    assert split.count("| 시스템 |") == whole.count("| 시스템 |") == 1
    assert "통째로 세지 않은 시스템: Qwen3-4B TTA, API(solar-pro2)." in whole
    assert SIGNATURE.format("split") in split and SIGNATURE.format("whole") in whole


def test_a_stand_in_is_no_system(build):
    run, leave = build()
    evaluated(leave, "kobart", HARD)
    with_api(leave, rows=40, stand_in=True)
    assert "API" not in told(run, "scores")
    assert "대역이 답했습니다" in told(run, "api")


def test_lead_2_of_other_data_is_another_row(build):
    run, leave = build()
    for model, lead2 in (("kobart", 22.0), ("qwen3-4b", 27.0)):
        leave("evaluate", model, found=dict(split=scored(40.0, lead2=lead2)))
    leads = [row[:2] for row in table_rows(told(run, "scores"), "시스템")[2:]]
    assert leads == [
        ["앞 두 발화 기준 (KoBART의 데이터)", "22.00 [21.00, 23.00]"],
        ["앞 두 발화 기준 (Qwen3-4B의 데이터)", "27.00 [26.00, 28.00]"],
    ]


# the two ways to count tags


def copying(build, null=GOOD, other=12.0):
    "KoBART is a point higher where tags are split; of its score more goes with the tags"
    run, leave = build()
    evaluated(leave, "kobart", HARD + 1, null, drop=15.0)
    evaluated(leave, "qwen3-4b", HARD, null, drop=other)
    return told(run, "scores")


def test_where_the_two_ways_to_count_tags_disagree_that_is_said_with_its_reason(build):
    text = copying(build)
    assert "나누어 세면 KoBART, Qwen3-4B 순이고, 통째로 세면 Qwen3-4B, KoBART 순입니다" in text
    assert "`#Person1#` 하나가 여러 토큰이 되어" in text
    assert "통째로 셀 때 점수의 변화: KoBART -15.00점, Qwen3-4B -12.00점." in text


def test_where_they_agree_or_no_system_is_better_than_chance_nothing_is_said_of_an_order(build):
    assert "순위가 다릅니다" not in copying(build, other=15.0)
    assert "순위가 다릅니다" not in copying(lambda: build("chance"), null=POOR)


# nothing is said of two systems at chance


SURE = (
    "통계적으로 유의함",
    "통계적으로 유의하게 높",
    "통계적으로 유의하게 낮",
    "통계적으로 유의하게 올",
    "가장 높음",
    "우열을 가릴 수 없음",
    "< 0.0",
)


@pytest.mark.parametrize("section", ["scores", "tta", "folds", "ensemble", "api"])
def test_no_significance_is_stated_between_two_systems_at_chance(build, section):
    run, leave = every_system(lambda: build("good"))
    leave("folds", "kobart", found=tables(HARD, GOOD))
    assert [words for words in SURE if words in told(run, section)]
    run, leave = every_system(lambda: build("poor"), POOR)
    leave("folds", "kobart", found=tables(HARD, POOR))
    text = told(run, section)
    assert [words for words in SURE if words in text] == [] and "무작위 기준을" in text


def test_that_no_system_clears_its_null_row_is_said_once(build):
    run, _leave = every_system(build, POOR)
    text = told(run, "scores")
    assert text.count("어느 시스템도 무작위 기준을 통계적으로 유의하게 넘지 못했습니다") == 1
    assert "검증 대화 40개로" not in text and "| 판단 |" not in text


def test_those_that_do_not_clear_it_are_named(build):
    run, leave = build()
    evaluated(leave, "kobart", HARD, GOOD)
    evaluated(leave, "qwen3-4b", HARD - 3, POOR)
    text = told(run, "scores")
    assert "무작위 기준을 통계적으로 유의하게 넘지 못한 시스템: Qwen3-4B." in text
    assert "어느 시스템도" not in text


# differences between models


def test_the_smallest_difference_that_dev_can_show_is_said_once(build):
    run, leave = build()
    wobble = np.array([3.0 if i % 2 else -3.5 for i in range(40)])
    evaluated(leave, "kobart", HARD)
    evaluated(leave, "qwen3-4b", HARD + wobble)
    text = told(run, "scores")
    [points] = re.findall(
        r"검증 대화 40개로 다섯 번에 네 번 알아낼 수 있는 차이\(검정력 80%\)는 ([\d.]+)점부터", text
    )
    assert float(points) == pytest.approx(detectable_difference(40, wobble.std()), rel=0.15)


def test_one_model_is_compared_with_none(build):
    run, leave = build()
    evaluated(leave, "kobart", HARD)
    assert "모델 사이의 차이" not in told(run, "scores")


# what was chosen automatically


def test_an_automatic_choice_is_told_as_such(build):
    run, leave = build()
    with_ensemble(leave)
    assert "앙상블 전략: 자동(가중 합의를 골랐습니다)." in told(run, "ensemble")
    run, leave = build("asked")
    with_ensemble(leave, asked="weighted_avg")
    assert "자동" not in told(run, "ensemble")


def test_a_strategy_whose_name_ends_in_a_bracket_has_its_particle_and_its_bold(build):
    run, leave = build()
    with_ensemble(leave, strategy="mbr")
    text = told(run, "ensemble")
    assert "자동(합의(MBR)를 골랐습니다)" in text and "| <b>합의(MBR)</b> |" in text and "**합의" not in text


def test_ways_to_end_a_summary_say_whether_they_were_chosen_automatically(build):
    run, leave = build()
    decoding = dict(num_beams=1, do_sample=False, max_new_tokens=96)
    fitted = dict(length_control=False, whole_sentences=True, tried=dict(plain=40.0, whole_sentences=41.0))
    params = dict(whole_sentences="auto", length_control="off")
    evaluated(leave, "kobart", HARD, params=params, decoding=decoding, fitted=fitted, rows=16, reached=4)
    evaluated(leave, "qwen3-4b", HARD - 1, params=params, decoding=decoding | dict(max_new_tokens=64))
    text = told(run, "scores").split("<summary>생성 방법</summary>")[1]
    assert text.count("그리디") == 1  # told once for all models
    kobart, qwen = table_rows(text, "모델")
    assert kobart == ["KoBART", "96", "25.0%", "사용 안 함", "자동(사용)", "그대로 40.00, 온전한 문장 41.00"]
    assert qwen == ["Qwen3-4B", "64", "–", "–", "–", "–"]


# the state of summaries


def test_the_state_of_summaries_is_one_line_where_nothing_is_out_of_bounds(build):
    run, leave = build()
    evaluated(leave, "kobart", HARD)
    text = told(run, "scores")
    assert (
        "모두 정상 범위 안에 있습니다" in text
        and "### 요약의 상태" not in text
        and "| 깨진 태그 |" not in text
    )
    leave(
        "tta",
        "kobart",
        found=dict(split=scored(45.0, empty=0.25) | dict(signature=SIGNATURE.format("split"), n=40)),
    )
    assert "- 빈 요약이 있습니다(정상 0%): KoBART TTA 25.0%. 빈 요약은 0점으로 계산합니다." in told(
        run, "scores"
    )


# engines


def engines(leave, *models, **more):
    rows = [
        dict(engine="hf", batch_size=32, throughput=10.0, latency=3.0, peak=1.0),
        dict(
            engine="int8",
            batch_size=8,
            throughput=15.0,
            latency=1.0,
            peak=1.0,
            identical=0.5,
            difference=[0.1, -1.0, 1.2],
        ),
    ]
    skipped = dict(ctranslate2=dict(code="engine_without_time", fields={}))
    for model in models:
        found = dict(engine="int8", batch_size=8, rows=rows, skipped=skipped, seconds=48.0)
        leave("optimize", model, found=found | more, params=dict(max_quality_loss=0.5))


def test_engines_are_told_in_one_table_and_a_reason_once_for_all_models(build):
    run, leave = build()
    engines(leave, "kobart", "qwen3-4b")
    text = told(run, "engines")
    chosen, measured = text.split("<details>")
    assert "자동으로 골랐습니다" in chosen and "ROUGE가 0.5점 넘게 낮지 않은" in chosen
    assert [row[:5] for row in table_rows(chosen, "모델")] == [
        ["KoBART", "`int8`", "8", "15.00", "1.5배"],
        ["Qwen3-4B", "`int8`", "8", "15.00", "1.5배"],
    ]
    assert len(table_rows(measured, "모델")) == 4
    assert text.count("- `ctranslate2`(KoBART, Qwen3-4B): 시간 한도를 이미 써서 재지 않았습니다.") == 1


def test_an_engine_that_there_was_no_time_for_is_told_so():
    from types import SimpleNamespace

    from dialsum.generation.search import Search

    def reason(left):
        bench = SimpleNamespace(good=list, loading=10.0, sample=lambda size: ["a"], seconds_left=lambda: left)
        return Search._try(bench, "int8", 16, 5.0).code

    assert reason(0.0) == reason(-3.0) == "engine_without_time" and reason(6.0) == "engine_takes_too_long"


# what was not asked for


@pytest.mark.parametrize("section", ["folds", "tta", "api", "ensemble", "engines"])
def test_a_section_that_nobody_asked_for_is_empty(build, section):
    run, leave = build()
    evaluated(leave, "kobart", HARD)
    assert told(run, section) == ""


@pytest.mark.parametrize(
    ("section", "stage", "model", "expected"),
    [
        ("folds", "folds", "kobart", "교차 검증 결과가 없는 모델: KoBART."),
        ("tta", "tta", "kobart", "TTA 결과가 없는 모델: KoBART."),
        ("engines", "optimize", "kobart", "추론 최적화 결과가 없는 모델: KoBART."),
        ("api", "api", "", "API 단계가 성공하지 못했습니다."),
        ("ensemble", "ensemble", "", "앙상블 단계가 성공하지 못했습니다."),
    ],
)
def test_what_was_asked_for_and_failed_is_one_line(build, section, stage, model, expected):
    run, leave = build()
    leave(stage, model, "failed", message="x")
    assert told(run, section) == expected


def test_what_had_nothing_to_do_says_why_in_one_line(build):
    run, leave = build()
    leave(
        "api", status="blocked", kind="optional", code="key_missing", fields=dict(host="a.b", variables=["K"])
    )
    leave("ensemble", status="blocked", kind="optional", code="nothing_evaluated")
    for section in ("api", "ensemble"):
        assert "이유" in told(run, section) and "\n" not in told(run, section)


def test_a_model_that_failed_is_named_beside_those_that_did_not(build):
    run, leave = every_system(build)
    leave("tta", "kobart", "failed", message="x")
    text = told(run, "tta")
    assert "| Qwen3-4B |" in text and "TTA 결과가 없는 모델: KoBART." in text


# other people's text


@pytest.mark.parametrize("name", [text for text in HELL if text.strip()])
def test_hostile_names_break_no_table_of_these_sections(build, name):
    run, leave = build()
    for model, values in ((name, HARD), ("kobart", HARD - 1)):
        evaluated(leave, model, values)
        with_tta(leave, model)
        with_soup(leave, model)
        leave("folds", model, found=tables(HARD, GOOD) | dict(folds=[dict(fold=0, mean=1.0)]))
    with_ensemble(leave, strategy=name, members=[name], best=name)
    with_api(leave, model=name, strategy=name, compared={name: dict(mean=dict(f=1.0))})
    engines(leave, name, engine=name, skipped={name: name})
    e = read_experiment(run)
    for section in ("scores", "folds", "tta", "api", "ensemble", "engines"):
        for block in SECTIONS[section](e).split("\n\n"):
            lines = block.split("\n")
            if lines[0].startswith("|"):
                assert len({len(cells(line)) for line in lines}) == 1, (section, lines)
