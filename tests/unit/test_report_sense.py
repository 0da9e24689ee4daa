"""The report's sentences follow from the facts: one place does not contradict another, advice fits its cause"""

import json
from types import SimpleNamespace

import pytest
from support.experiments import checked, metrics, scored, six_models_five_folds, whole
from support.korean import flaws_of_document

from dialsum.report.actions import actions_of
from dialsum.report.advice_values import size_may_help
from dialsum.report.causes import causes_of
from dialsum.report.diagrams.states import MANY, boxes_to_draw
from dialsum.report.document import SECTIONS, render
from dialsum.report.experiment import read_experiment
from dialsum.report.mending import separate_command
from dialsum.report.sections.first_screen import section_first_screen
from dialsum.report.stage_charts import flowchart
from dialsum.runs.files import to_json

BF16 = """"_amp_foreach_non_finite_check_and_unscale_cuda" not implemented for 'BFloat16'"""
DROPS_HANGUL = "f1x1|tok:rouge_score[a-z0-9]|refs:1"


def section(run, name):
    return SECTIONS[name](read_experiment(run))


def trained(leave, model, last_epoch, epochs=10):
    "A training whose loss falls until its end"
    evaluations = [dict(epoch=last_epoch - 1 + i, step=8 * i, loss=2.0 - i / 2) for i in (0, 1)]
    recipe = metrics("train")["recipe"] | dict(epochs=epochs)
    found = metrics("train") | dict(
        scale="full", recipe=recipe, evaluations=evaluations, best=evaluations[-1]
    )
    leave("train", model, found=found)


@pytest.mark.parametrize(("last", "option"), [(9.95, "--epochs 15"), (7, "--early-stopping-patience")])
def test_only_a_training_that_ended_early_was_stopped(build, last, option):
    run, leave = build(models=["kobart"])
    trained(leave, "kobart", last)
    advised = [a.values["todo"] for a in actions_of(read_experiment(run)) if a.kind == "advice"]
    assert len(advised) == 1 and option in advised[0]


def foreign(build):
    "An experiment whose one model was scored by a scorer that drops Hangul"
    run, leave = build(models=["kobart"])
    leave("evaluate", "kobart", found=dict(split=scored(35.0) | dict(signature=DROPS_HANGUL), scale="full"))
    return run


def test_a_scorer_that_drops_hangul_is_told_wherever_its_score_is_the_best(build):
    run = foreign(build)
    for text in (section_first_screen(read_experiment(run)), section(run, "lessons")):
        assert "한글을 읽지 못하는 채점기의 점수이므로 다른 점수와 비교할 수 없습니다." in text


def test_how_tags_are_counted_is_told_where_it_is_known(build):
    told = "태그는 대회 순위표와 같은 방식으로 나누어 셌습니다."
    assert told not in section(foreign(build), "scores")
    assert told in section(whole(build, name="20261121_012847_other")[0], "scores")


def slow_failure(build, *stages):
    "A training that failed after two minutes; stages: what succeeded before it"
    run, leave = build(models=["kobart", "qwen3-4b"])
    for stage in stages:
        leave(stage, found=checked(["kobart", "qwen3-4b"], {}))
    leave("train", "kobart", start=2)
    leave("train", "qwen3-4b", "failed", start=3, seconds=120, message=BF16)
    return run


def test_a_check_that_nobody_made_has_missed_nothing(build):
    assert "사전 점검이 잡지 못한 실패이므로" in section(slow_failure(build, "preflight"), "lessons")
    run, leave = build("20261121_012847_unchecked", models=["kobart"])
    leave("train", "kobart", "failed", seconds=120, message=BF16)
    text = section(run, "lessons")
    assert "사전 점검을 한 기록이 없습니다. 다음에는 `dialsum preflight`로" in text
    assert "- KoBART를 끝까지 실행하지 못했습니다." in text and "잡지 못한" not in text


def test_models_of_which_none_came_through_are_not_counted_out_of_themselves(build):
    run, leave = build(models=["kobart", "qwen3-4b"])
    for model in ("kobart", "qwen3-4b"):
        leave("train", model, "failed", message=BF16)
    text = section(run, "lessons")
    assert "모델 2개 가운데 끝까지 실행된 모델이 없습니다: KoBART, Qwen3-4B." in text


def test_a_model_that_did_not_end_has_no_other_problem(build):
    run, leave = whole(build, ("kobart",))
    leave("predict", "kobart", "failed", message=BF16)
    text = section(run, "lessons")
    assert "KoBART를 끝까지 실행하지 못했습니다." in text and "가장 큰 문제" not in text


def test_what_is_spared_is_what_succeeded_in_that_stage(build):
    run, leave = build(models=["kobart", "qwen3-4b"])
    leave("train", "kobart", found=metrics("train") | dict(scale="full"))
    leave("predict", "kobart", "failed", message="x", start=5)
    leave(
        "train",
        "qwen3-4b",
        "failed",
        message=f"NotImplementedError: {BF16}",
        traceback=f"NotImplementedError: {BF16}\n",
    )
    text = section(run, "failures")
    assert "학습에 성공한 KoBART는 인코더-디코더" in text
    assert "KoBART의 성공한 단계도 다시 실행합니다" in text and "성공한 KoBART도" not in text
    first = section_first_screen(read_experiment(run))
    assert "KoBART의 결과는 그대로 두고, 이 원인으로 실패한 모델만 실행합니다." in first


def test_an_exit_code_of_0_is_promised_where_one_cause_is_left(build):
    run, leave = build(models=["kobart", "qwen3-4b"])
    leave("predict", "kobart", "failed", message="x")
    assert "종료 코드 0으로 끝나고 새 보고서에" in section(run, "failures")
    leave("predict", "qwen3-4b", "failed", message="y", kind="died")
    text = section(run, "failures")
    assert (
        "종료 코드 0으로 끝나고" not in text and "다른 원인이 남아 있으면 종료 코드는 0이 아닙니다." in text
    )
    assert "실패의 원인은 2가지이며" in text


def test_the_submission_that_is_lost_is_not_the_whole_experiment(build):
    run, leave = build(models=["kobart"])
    leave("train", "kobart", start=1)
    leave("evaluate", "kobart", start=2)
    leave("predict", "kobart", "failed", message="x", start=3)
    leave("submit", status="failed", kind="user", code="nothing_to_submit", fields=dict(run="x"), start=4)
    text = section(run, "failures")
    assert "### P0" in text and "- **잃은 것:** 제출 파일." in text and "실험 전체" not in text


def test_what_all_succeeded_is_said_once(build):
    text = section(whole(build)[0], "failures")
    assert text.strip() == "단계 8개가 모두 성공했습니다."


def test_a_missing_file_is_looked_for(build):
    run, leave = build(models=["kobart"])
    leave(
        "train", "kobart", "failed", message="[Errno 2] No such file or directory: 'configs/solar_10.7b.yaml'"
    )
    path = next(run.glob("*/train.json"))
    fact = json.loads(path.read_text())
    path.write_text(json.dumps(fact | dict(error=fact["error"] | dict(type="FileNotFoundError"))))
    (cause,) = causes_of(read_experiment(run))
    assert cause.remedy.startswith("오류에 적힌 경로에 그 파일이 있는지 확인합니다.")
    assert "이슈" not in cause.remedy and cause.files == ("configs/solar_10.7b.yaml",)


def test_a_command_nobody_noted_is_made_of_the_options(build):
    options = dict(epochs=10, use_tta=True, k_folds=0, augmentation_methods=["synonym", "turn_shuffle"])
    run = build(models=["kobart"], **options)[0]
    command = separate_command(read_experiment(run), ["kobart"])
    for words in ("--epochs 10", "--use-tta", "--augmentation-methods synonym turn_shuffle"):
        assert words in command
    assert "--models kobart --scale full" in command


def planned(build, *keys, **options):
    "An experiment whose stages were noted before it began, of which only the first left a fact"
    run, leave = build(models=["kobart"], **options)
    path = run / "experiment.json"
    path.write_text(to_json(json.loads(path.read_text()) | dict(stages=list(keys))))
    leave(keys[0])
    return run


def test_stages_that_were_planned_and_left_nothing_are_missing(build):
    run = planned(build, "data", "kobart/train", "kobart/fold1/train", "kobart/tta", "report", use_tta=True)
    missing = [(s.stage, s.model, s.fold) for s in read_experiment(run).steps if s.status == "missing"]
    assert missing == [("train", "kobart", None), ("tta", "kobart", None), ("train", "kobart", 1)]
    assert "TTA 결과가 없는 모델: KoBART." in section(run, "tta")


def test_what_was_asked_for_and_left_nothing_is_no_choice(build):
    text = render(read_experiment(whole(build, ("kobart",), use_tta=True)[0])).split("\n---\n")[-1]
    assert "요청했지만 기록이 없는 것: TTA(`--use-tta`)." in text
    _, _, others = text.partition("실행하지 않은 것: ")
    assert "교차 검증(`--k-folds 5`)" in others and "TTA" not in others and not flaws_of_document(text)


def test_a_larger_model_is_advised_where_none_was_tried():
    scores = {"kobart": 42.0, "llama-3.2-korean-3b": 40.0, "solar-10.7b": float("-inf")}
    assert [size_may_help(model, scores) for model in scores] == [False, False, False]
    assert size_may_help("kobart", {"kobart": 42.0})
    assert size_may_help("qwen3-4b", {"kobart": 20.0, "qwen3-4b": 30.0})


def test_of_six_sizes_no_other_is_advised(build):
    run = six_models_five_folds(build)[0]
    advised = [a.values["todo"] for a in actions_of(read_experiment(run)) if a.kind == "advice"]
    assert len(advised) == 1 and "--epochs 5" in advised[0] and "더 큰 모델" not in str(advised)


def test_a_model_of_which_all_succeeded_is_one_box_also_among_many(build):
    e = read_experiment(six_models_five_folds(build, lost=["kullm-v2"])[0])
    chart = flowchart(e)
    assert chart.is_crowded and len(chart.grouped.nodes) == 4 + 5 + 6
    text = SECTIONS["timeline"](e)
    assert "모든 단계가 성공한 모델은 한 칸으로 그렸습니다." in text and "KoBART<br/>16개 단계 성공" in text
    crowd = [
        SimpleNamespace(group=(f"{m}", f"{i}"), state="failed", fold=False)
        for m in range(9)
        for i in range(9)
    ]
    assert len(crowd) > MANY and len(boxes_to_draw(crowd)) == 9


def test_a_server_that_told_no_tokens_used_some(build):
    run, leave = build(models=["kobart"], use_solar_api=True)
    counts = dict(rows=5, answered=5, valid=5, asked_again=0, requests=5, retries=0, cached=0, failed=[])
    found = dict(model="m", strategy="zero_shot", stand_in=False, compared={}, split=scored(20.0)) | counts
    leave("api", found=found | dict(prompt_tokens=0, completion_tokens=0))
    assert "쓴 토큰의 수는 기록에 없습니다." in section(run, "api")
    leave("api", found=found | dict(prompt_tokens=900, completion_tokens=90))
    assert "입력 토큰 900개와 출력 토큰 90개를 썼습니다." in section(run, "api")


def test_a_model_that_was_never_loaded_has_the_size_of_its_card(build):
    run, leave = build(models=["kullm-v2"], scale="full")
    leave("train", "kullm-v2", "failed", message="x")
    assert "| 디코더 | 12.9B |" in section(run, "models")
