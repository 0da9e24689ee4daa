"What a report tells of its models: what they are, what they cost, how they were trained, what is wrong with them"

import re

import pytest
from support.experiments import case, metrics, scored, whole

from dialsum.report.document import SECTIONS, render
from dialsum.report.experiment import Experiment, read_experiment
from dialsum.runs.records import ExperimentRecord
from dialsum.scores.summary_errors import FAULTS

OWN = ("models", "training", "each_model", "summary_errors", "worst")  # sections
WORST = OWN[-1]
WRITTEN = "맑밝끓얇쀍"  # what nobody else writes


def section(run, heading):
    return SECTIONS[heading](read_experiment(run))


def counted(**counts):
    "Faults of 16 summaries, and of no reference"
    kinds = {
        kind: dict(count=counts.get(kind, 0), references=0, examples=[dict(fname="dev_0", found=[WRITTEN])])
        for kind in FAULTS
    }
    return dict(rows=16, faulty=max(counts.values()), kinds=kinds)


def evaluation(scale="full", mean=40.0, **more):
    cases = [case(text=f"{WRITTEN} {i}", i=i) for i in range(5)]
    texts = dict(worst=cases, best=cases[-3:], faults=counted(cut=8))
    return dict(split=scored(mean), scale=scale) | texts | more


@pytest.fixture
def evaluated(build):
    "A function that makes an experiment of models that were trained and evaluated"

    def experiment(*found, name="evaluated", scale="full", **train):
        models = ["kobart", "qwen3-4b", "kullm-v2"][: len(found)]
        run, leave = build(name, models=models, scale=scale)
        for model, metrics_found in zip(models, found):
            leave("train", model, found=metrics("train") | dict(scale=scale) | train)
            leave("evaluate", model, found=metrics_found)
        return run

    return experiment


def test_sections_about_nothing_are_empty():
    empty = Experiment("empty", ExperimentRecord(), [])
    assert {heading: SECTIONS[heading](empty) for heading in OWN} == dict.fromkeys(OWN, "")


def test_sections_without_results_say_so_in_a_line(build):
    run, _leave = build(models=["kobart"])
    for heading in OWN[1:]:
        text = section(run, heading)
        assert text and "\n" not in text and text.endswith("."), (heading, text)


# what a toy writes


def test_nothing_that_a_toy_wrote_is_shown(evaluated):
    toys = evaluated(evaluation("replica"), name="toys", scale="replica")
    text = render(read_experiment(toys))
    assert WRITTEN not in text and "무작위로 이어진 글자라 싣지 않습니다" in text
    assert WRITTEN in render(read_experiment(evaluated(evaluation())))


# what a model is


@pytest.mark.parametrize(
    ("checkpoint", "name"),
    [
        ("Qwen/Qwen3-4B-Instruct-2507", "Qwen/Qwen3-4B-Instruct-2507"),
        ("/home/kim/models/kobart-mine", "kobart-mine"),
        ("/cache/hub/models--gogamza--kobart-base-v2/snapshots/0f1e2d", "gogamza/kobart-base-v2"),
        ("", "gogamza/kobart-base-v2"),
    ],
)
def test_a_checkpoint_is_called_by_its_name(evaluated, checkpoint, name):
    text = section(evaluated(evaluation(), checkpoint=checkpoint), "models")
    assert f"| KoBART | `{name}` |" in text and "/home" not in text and "/cache" not in text


def test_a_replica_has_two_sizes(evaluated):
    run = evaluated(evaluation("replica"), scale="replica", parameters=90_000, card_parameters=123_859_968)
    assert "| 축소 모형 41K (원래 123.9M) |" in section(run, "models")


@pytest.mark.parametrize(
    ("precision", "size"), [(dict(device="cpu"), "268.1M"), (dict(quantization="nf4"), "268.2M")]
)
def test_the_size_is_the_checkpoints_own(evaluated, precision, size):
    "Without the adapter; weights of four bits are packed, so that the card knows how many there are"
    run = evaluated(
        evaluation(),
        parameters=271_895_168,
        trainable=3_796_992,
        card_parameters=268_200_000,
        precision=precision,
        recipe=dict(method="lora"),
    )
    text = section(run, "models")
    assert f"| {size} | LoRA(학습한 파라미터 3.8M, 1.4%) |" in text and "원래" not in text


def test_scores_stand_beside_what_they_cost(build):
    run, leave = whole(build)
    leave("preflight", found=dict(models={}), seconds=20)
    leave("optimize", "kobart", seconds=61, found=dict(engine="hf", batch_size=8, rows=[], skipped={}))
    for fold in (0, 1):
        (run / "kobart").mkdir(exist_ok=True)
        leave("train", "kobart", fold=fold, seconds=30, found=metrics("train"), folder=f"kobart/fold{fold}")
    text = section(run, "models")
    assert "| 모델 | ROUGE 평균 | 학습 | 평가 | 예측 | 추론 최적화 | 폴드 종합 | 합계 |\n" in text
    assert "| KoBART | 40.00 [39.00, 41.00] | 5.0초 | 5.0초 | 5.0초 | 1분 1초 | 1분 | 2분 16초 |" in text
    assert "| Qwen3-4B | 30.00 [29.00, 31.00] | 5.0초 | 5.0초 | 5.0초 | – | – | 15초 |" in text
    assert "그 밖의 단계에 든 시간: 사전 점검 20초, 데이터 준비" in text and "메모리 |" not in text


def test_memory_is_told_where_it_was_measured(evaluated):
    text = section(evaluated(evaluation(), evaluation(mean=30.0), peak_memory=4.75), "models")
    assert "| 학습 메모리 |\n" in text and text.count("| 4.75 GiB |") == 2 and "예측 메모리" not in text


def test_a_training_notes_the_most_memory_that_it_had():
    from dialsum.models.measured_memory import peak_memory

    gib = peak_memory("cpu")
    assert gib is None or 0.01 < gib < 1000


# how it was trained


def test_settings_are_told_once(evaluated):
    run = evaluated(evaluation(), evaluation(), evaluation())
    for path, rate in zip(sorted(run.glob("*/train.json")), (3e-5, 1e-4, 1e-4)):
        text = path.read_text()
        path.write_text(text.replace('"learning_rate": 0.005', f'"learning_rate": {rate}'))
    text = section(run, "training")
    assert (
        text.count("배치 크기 8") == 1
        and "**모든 모델에 같은 설정:** 학습 방법 LoRA, 에폭 3, 배치 크기 8" in text
    )
    assert "| 모델마다 다른 설정 | 학습률 |\n" in text
    assert "| KoBART | 3e-05 |" in text and "| KULLM-v2 | 0.0001 |" in text
    assert "배치" not in section(run, "each_model")


def test_epochs_of_all_models_stand_in_one_folded_table(evaluated):
    text = section(evaluated(evaluation(), evaluation()), "training")
    assert text.count("<summary>") == 1 and text.count(" ★ |") == 2
    folded = text.split("<details>")[1].split("</details>")[0]
    assert len(re.findall(r"^\| (?:KoBART|Qwen3-4B) \|", folded, re.M)) == 6


# verdicts


def test_models_at_chance_share_a_line_and_nothing_else_is_said_of_them(evaluated):
    run = evaluated(evaluation(mean=16.5), evaluation(mean=16.2), evaluation())
    text = section(run, "each_model")
    assert "무작위 기준을 넘지 못하는 모델: KoBART, Qwen3-4B." in text and "### KULLM-v2" in text
    assert "### KoBART" not in text
    only = section(evaluated(evaluation(mean=16.5), name="only"), "each_model")
    assert "강점**" not in only and "약점**" not in only
    errors = section(run, "summary_errors")
    assert (
        "KoBART, Qwen3-4B는 무작위 기준을 넘지 못하므로" in errors and "| 오류 | KULLM-v2 | 참조 |" in errors
    )


def test_the_rules_are_told_once_and_folded(evaluated):
    text = section(evaluated(evaluation(), evaluation()), "each_model")
    before, folded = text.split("<details>\n<summary>판정의 규칙</summary>")
    assert "10배를 넘거나" in folded and "10배를 넘거나" not in before and "1.5배(올림)" in folded


def test_what_is_neither_good_nor_bad_is_told_as_it_is(evaluated):
    rising = [
        dict(epoch=i, loss=loss, rouge_mean=mean)
        for i, (loss, mean) in enumerate([(1.875, 28.68), (1.897, 31.37), (1.920, 34.42)], 1)
    ]
    text = section(evaluated(evaluation(), evaluations=rising, best=rising[-1]), "each_model")
    assert (
        "- **참고** 검증 손실은 에폭 2부터 올라가지만(2.4%)" in text and "과적합하지 않았습니다" not in text
    )


# faults


def test_only_faults_that_occur_have_a_row(evaluated):
    run = evaluated(evaluation(faults=counted(cut=8)), evaluation(faults=counted(omission=4)))
    text = section(run, "summary_errors")
    rows = re.findall(r"^\| ([^|]+) \| \d", text.split("<details>")[0], re.M)
    assert rows == ["빠뜨린 내용", "잘린 문장", "**하나라도 있는 요약**"]
    assert "어느 요약에도 없는 오류: 빈 요약, 빈값 단어" in text
    assert "글자가 없습니다" not in text.split("<details>")[0]


# the worst


def test_three_of_the_worst_are_folded_and_one_of_the_best(evaluated):
    text = section(evaluated(evaluation()), WORST)
    titles = re.findall("<summary>(.*)</summary>", text)
    assert [title.split(":")[0] for title in titles] == [
        "낮은 점수 1",
        "낮은 점수 2",
        "낮은 점수 3",
        "가장 높은 점수",
    ]
    assert titles[0].endswith("dev_0 · ROUGE 평균 1.00")
    outside = re.sub(r"<details>.*?</details>", "", text, flags=re.S)
    assert WRITTEN not in outside and text.count("<details>") == text.count("</details>") == 4


@pytest.mark.parametrize("name", ["</summary><b>x", "a\nb", "&amp;", "<details>"])
def test_a_name_does_not_end_the_line_that_a_case_is_folded_behind(evaluated, name):
    hostile = case() | dict(fname=name)
    text = section(evaluated(evaluation(worst=[hostile], best=[])), WORST)
    [line] = [line for line in text.splitlines() if line.startswith("<summary>")]
    assert re.fullmatch("<summary>[^<>]*</summary>", line) and text.count("<details>") == 1
