"""What the notebook of dialsum.report cannot say of itself: other people's text, missing facts, the same bytes, and mermaid's own parser"""

import csv
import json
import re
import shutil

import pytest
from support.experiments import ENVIRONMENT, HELL, SIGNATURE, at, fact_of, metrics, paired, scored, whole
from support.report import advice, cells, outside_code, overview_parts, write

from dialsum.korean.particles import particle
from dialsum.report.document import SECTIONS, render, write_report
from dialsum.report.experiment import Experiment, Step, read_experiment
from dialsum.report.figures import (
    draw_engines,
    draw_losses,
    draw_rouge,
    draw_scores,
    png,
)
from dialsum.report.markdown import escape, table, without_paths
from dialsum.report.numbers import write_numbers
from dialsum.report.sections.request import section_request, section_rerun
from dialsum.report.sections.training import section_training
from dialsum.report.stage_charts import flowchart, gantt
from dialsum.report.texts import duration
from dialsum.runs.errors import DialsumError
from dialsum.runs.records import ExperimentRecord
from dialsum.training.metrics import TrainMetrics

# sentences


@pytest.mark.parametrize(
    ("word", "pair", "expected"),
    [
        *(
            (w, "은/는", e)
            for w, e in {
                "KoBART": "는",
                "Qwen3-4B": "는",
                "16": "은",
                "2": "는",
                "SOLAR-10.7B": "는",
                "KULLM-v2": "는",
                "LoRA": "는",
                "Polyglot-Ko-12.8B": "는",
                "Llama-3.2-Korean-3B": "는",
                "LLM": "은",
                "URL": "은",
                "GPU": "는",
                "kobart": "는",
                "모델": "은",
                "평가": "는",
                "10": "은",
                "1,000": "은",
                "3": "은",
                "9": "는",
                "45%": "는",
                "dev_6": "은",
                "Qwen": "은",
                "KoBART 폴드 2": "는",
                '"제출"': "은",
                "예측(16개)": "은",
                "`evaluate`": "는",
                "漢字": "은(는)",
                "": "은(는)",
            }.items()
        ),
        *(
            (w, "으로/로", e)
            for w, e in {
                "학습": "으로",
                "서울": "로",
                "16.41": "로",
                "8.40": "으로",
                "7": "로",
                "6": "으로",
                "model": "로",
                "CSV": "로",
                "JSON": "으로",
                "KoBART": "로",
                "漢字": "(으)로",
            }.items()
        ),
        *(
            (w, "이/가", e)
            for w, e in {
                "학습": "이",
                "KoBART": "가",
                "1조": "가",
                "1000000000000": "가",
                "100000000": "이",
            }.items()
        ),
        ("Qwen3-4B", "을/를", "를"),
        ("LoRA", "과/와", "와"),
        ("파일", "과/와", "과"),
    ],
)
def test_particles_follow_the_sound(word, pair, expected):
    assert particle(word, pair) == expected


def test_no_particle_is_left_open_in_a_report(build, tmp_path):
    md = write(whole(build)[0], tmp_path)[0][1].decode()
    assert not re.search(r"\((?:는|가|를|와|으|이)\)", md)


HARD = [20.0 + 7 * (i % 8) for i in range(40)]  # dialogues differ far more than models


def test_a_small_steady_difference_is_no_chance(build):
    run, leave = build()
    paired(leave, "kobart", HARD)
    paired(leave, "qwen3-4b", [x - 0.8 - 0.4 * (i % 2) for i, x in enumerate(HARD)])
    first, between, next_steps = overview_parts(run)
    assert (
        "Qwen3-4B보다 1.00점 높고, 차이는 통계적으로 유의합니다(+1.00 [+0.94, +1.06])" in first
        and "겹치" not in first + next_steps
    )  # though the intervals overlap
    assert (
        "| Qwen3-4B | 43.50 | -1.00 [-1.06, -0.94] | < 0.001 | < 0.001 | 통계적으로 유의함 |" in between
        and "검증 대화 40개" in between
        and "비교하지 않은" not in between
    )


def test_a_tie_is_no_ranking(build):
    run, leave = build()
    paired(leave, "kobart", HARD)
    paired(leave, "qwen3-4b", HARD)
    paired(leave, "kullm-v2", [x + (3.0 if i % 2 else -3.5) for i, x in enumerate(HARD)])
    first, between, _next_steps = overview_parts(run)
    assert (
        "0.00점 높지만 오차 범위 안이므로 우열을 가릴 수 없습니다" in first
        and between.count("우열을 가릴 수 없음") == 2
    )
    run, leave = build("other")
    paired(leave, "kobart", HARD)
    paired(leave, "kullm-v2", [x + (3.0 if i % 2 else -3.5) for i, x in enumerate(HARD)])
    assert (
        "KoBART와 KULLM-v2의 차이 0.25점은 오차 범위 안입니다" in overview_parts(run)[2]
        and "개쯤으로 늘립니다" in overview_parts(run)[2]
    )


def test_only_what_is_alike_is_compared(build):
    run, leave = build()
    paired(leave, "kobart", HARD)
    paired(leave, "qwen3-4b", [x - 1 for x in HARD], signature=SIGNATURE.format("whole"))
    paired(leave, "kullm-v2", [x - 2 for x in HARD], data="e" * 64)
    paired(leave, "solar-10.7b", [x - 3 for x in HARD[:-1]])
    leave("evaluate", "polyglot-ko-12.8b", found=dict(split=scored(30.0)))
    e = read_experiment(run)
    between = overview_parts(run)[1]
    assert e.differences[0] == {} and "둘이 되지 않아" in between
    for line in (
        "- Qwen3-4B: 점수의 서명이 다릅니다.",
        "- KULLM-v2: 검증 데이터가 다릅니다.",
        "- SOLAR-10.7B: 점수를 매긴 대화의 수가 다릅니다.",
        "- Polyglot-Ko-12.8B: 대화마다의 점수가 사실 파일에 없습니다.",
    ):
        assert line in between
    paired(leave, "llama-3.2-korean-3b", [x - 3 for x in HARD])
    assert list(read_experiment(run).differences[0]) == ["kobart", "llama-3.2-korean-3b"]


def test_many_models_are_compared_up_to_ten(build):
    run, leave = build()
    for i in range(12):
        paired(leave, f"model-{i:02d}", [x - i / 10 for x in HARD])
    assert (
        overview_parts(run)[1] == overview_parts(run)[1]
        and overview_parts(run)[1].count("| model-") == 10
        and "- model-10, model-11: 점수가 높은 모델 10개까지만" in overview_parts(run)[1]
    )


@pytest.mark.parametrize(
    ("kind", "option", "done"),
    [
        ("cut", "--whole-sentences", dict(whole_sentences="on")),
        (
            "cut",
            "--whole-sentences",
            dict(
                whole_sentences="auto",
                fitted=dict(whole_sentences=False, tried=dict(plain=16.4, whole_sentences=16.4)),
            ),
        ),
        ("cut", "--max-new-tokens", dict(ratio=0.2, max_new_tokens=100)),
        ("omission", "--length-control", dict(ratio=0.6, length_control="on")),
        ("omission", "--num-beams", dict(decoding=dict(num_beams=5, do_sample=False))),
        (
            "omission",
            "--length-control",
            dict(
                ratio=0.6,
                length_control="auto",
                fitted=dict(length_control=False, tried=dict(plain=16.4, length_control=15.0)),
            ),
        ),
        ("broken_tag", "--new-tokens", dict(new_tokens="#Person1#")),
        ("repetition", "--repetition-penalty", dict(repetition_penalty=1.2)),
        ("repetition", "--no-repeat-ngram-size", dict(no_repeat_ngram_size=3)),
        ("empty", "--min-new-tokens", dict(min_new_tokens=5)),
        ("wrong_speaker", "speaker_swap", dict(data=dict(use_augmentation=True, augmentation_methods=""))),
        (
            "invented_name",
            "--validate-data-quality",
            dict(
                data=dict(validate_data_quality=True, quality_threshold=0.8), quality=dict(name=dict(train=2))
            ),
        ),
        (
            "invented_name",
            "--quality-threshold",
            dict(
                data=dict(validate_data_quality=True, quality_threshold=0.9), quality=dict(name=dict(train=2))
            ),
        ),
        (
            "invented_number",
            "--quality-threshold",
            dict(
                data=dict(validate_data_quality=True, quality_threshold=0.8), quality=dict(name=dict(train=2))
            ),
        ),
    ],
)
def test_what_is_done_already_is_not_advised(build, kind, option, done):
    ratio = dict(ratio=0.6) if option == "--length-control" else {}
    assert option in advice(build, kind, **ratio) and option not in advice_after(build, kind, done)


def advice_after(build, kind, done):
    return advice(lambda **options: build("after", **options), kind, **done)


def test_advice_does_not_contradict_itself(build):
    def of(name, *kinds, **done):
        return advice(lambda **options: build(name, **options), *kinds, **done)

    assert (
        "--repetition-penalty 1.2" in of("a", "repetition")
        and "--repetition-penalty" not in (both := of("b", "repetition", "broken_tag"))
        and "--no-repeat-ngram-size 3" in both
    )
    rising = of("c", losses=(7.0, 7.5, 8.0))
    assert "--epochs" not in rising and "학습 대화를 늘립니다" in rising and "더 큰 모델로 바꿉니다" in rising


@pytest.mark.parametrize(
    ("prices", "cost", "test", "expected"),
    [
        (
            [0.25, 1.0],
            0.0123,
            None,
            "비용은 0.0123입니다(옵션으로 준 값, 곧 입력 토큰 백만 개에 0.25, 출력 토큰 백만 개에 1을 매겨",
        ),
        ([300.0, 1200.0], 1234.5, 100.25, "비용은 1,334.75입니다(검증 1,234.50, 테스트 100.25, 옵션"),
        ([0.1, 0.1], 1e-6, None, "비용은 0.0001 미만입니다"),
        ([0.1, 0.1], 0.0, None, "비용은 0.0000입니다"),
        ([0.0, 0.0], 0.0, None, None),
        (None, None, None, None),
    ],
)
def test_what_an_api_cost_is_told(build, prices, cost, test, expected):
    run, leave = build()
    used = dict(
        rows=16, answered=16, requests=16, retries=0, cached=0, prompt_tokens=4000, completion_tokens=900
    )

    def priced(cost):
        return {} if prices is None else dict(prices=prices, cost=cost)

    leave(
        "api",
        found=used
        | priced(cost)
        | dict(
            model="solar-pro2",
            strategy="zero_shot",
            valid=16,
            asked_again=0,
            split=scored(30.0),
            compared={},
            stand_in=False,
            failed=[],
            test=None if test is None else used | priced(test),
        ),
    )
    text = SECTIONS["api"](read_experiment(run))
    assert expected in text if expected else "비용" not in text


def test_every_number_is_in_a_table_beside_the_report(build, tmp_path):
    run, leave = build()
    paired(leave, "kobart", HARD)
    rows = [dict(engine="int8", batch_size=8, throughput=12.5, difference=[0.5, -0.25, 1.25])]
    leave("optimize", "kobart", found=dict(engine="int8", batch_size=8, rows=rows, skipped={}, seconds=3.0))
    (run / "kobart").mkdir()
    leave("train", "kobart", fold=1, folder="kobart/fold1")
    leave(
        "submit",
        found=dict(
            chosen="kobart", metric="mean", candidates=[dict(model="kobart", score=44.5, predictions="p.csv")]
        ),
    )
    e = read_experiment(run)
    path = write_numbers(e, tmp_path / "figures")
    assert path.read_bytes().startswith("\ufeff단계,모델,폴드,항목,값\n".encode())
    with open(path, encoding="utf-8-sig", newline="") as file:
        table = [tuple(row.values()) for row in csv.DictReader(file)]
    assert {
        ("추론 최적화", "KoBART", "", "rows[int8, 8].difference[1]", "-0.25"),
        ("학습", "KoBART", "1", "best.rouge_mean", "11.0"),
        ("학습", "KoBART", "1", "seconds", "1.5"),
        ("평가", "KoBART", "", "per_dialogue[39]", str(HARD[39])),
        ("제출", "", "", "candidates[kobart].score", "44.5"),
    } <= set(table)
    assert f"수치 {len(table)}개는 [`numbers.csv`]({run.name}/numbers.csv)" in SECTIONS["appendix"](e)
    assert path.read_bytes() == write_numbers(e, tmp_path / "others").read_bytes()


def test_only_what_a_person_gave_is_called_given(build):
    command = "dialsum run --models kobart qwen3-4b --epochs 3 --no-use-tta --runs 'my runs'"
    run, leave = build(
        command=command,
        mode="multi_model",
        models=["kobart", "qwen3-4b"],
        scale="full",
        workers=1,
        rehearse=True,
        use_tta=False,
        optimize_inference=False,
        ensemble_strategy="",
        epochs=3,
        batch_size=0,
    )
    leave("train", "kobart", "failed")
    e = read_experiment(run)
    table, automatic = section_request(e).split("자동으로 정한 설정: ")
    assert re.findall(r"^\| `--([a-z-]+)`", table, re.M) == ["models", "epochs", "batch-size", "use-tta"]
    assert "| `--batch-size` | 배치 크기 | 자동 |" in table and "앙상블 전략(자동)" in automatic
    leave("ensemble", found=dict(strategy="mbr"))
    assert "앙상블 전략(자동: 합의(MBR))" in section_request(read_experiment(run))
    assert f"dialsum resume {run.name} --runs {run.parent}\n" in section_rerun(e)


def test_the_report_is_korean(build, tmp_path):
    run, _leave = whole(build, epochs=3)
    md = outside_code(write(run, tmp_path)[0][1].decode())
    md = re.sub(r"`[^`]*`", "", md)
    assert not re.search(r"(?:\b[a-z]{2,}\b[ ,:]+){4}", md), "an English sentence"
    assert "배 안팎" not in md  # nothing is out of bounds here


def test_warnings_are_drawn_from_the_numbers(build):
    run, leave = build()
    leave("evaluate", "kobart", found=dict(split=scored(40.0, empty=0.25, length_ratio=0.1, equal_r1_rl=1.0)))
    section = SECTIONS["scores"](read_experiment(run))
    for told in (
        "빈 요약이 있습니다(정상 0%): KoBART 25.0%",
        "정상 0.5~2배): KoBART 0.10배",
        "KoBART 100.0%",
    ):
        assert told in section
    assert "times as long" not in section and SIGNATURE.format("split") in section


# facts


def test_the_same_facts_give_the_same_bytes(build, tmp_path):
    run, leave = whole(build, command="dialsum demo")
    first = write(run, tmp_path)
    assert [name for name, _ in first] == [
        f"{run.name}.md",
        *(f"{run.name}/{name}" for name in ("loss.png", "scores.png", "rouge.png", "numbers.csv")),
    ]
    leave("report", found=dict(report="x.md"))
    (run / "kobart").mkdir()
    copy = tmp_path / "elsewhere" / "deep" / run.name
    shutil.copytree(run, copy)
    assert write(run, tmp_path) == first
    (name, text), *others = write(copy, tmp_path, "others")
    assert others == first[1:]
    commands = text.decode().replace(f" --runs {copy.parent}", f" --runs {run.parent}")
    assert (name, commands.encode()) == first[0]  # which are of the copy


def test_figures_ignore_the_users_matplotlib_settings(build, tmp_path):
    import matplotlib

    e = read_experiment(whole(build)[0])
    before = png(draw_losses, e.of(TrainMetrics))
    with matplotlib.rc_context(
        {"font.family": "serif", "lines.linewidth": 9, "savefig.bbox": "tight", "axes.facecolor": "black"}
    ):
        assert png(draw_losses, e.of(TrainMetrics)) == before
    assert matplotlib.rcParams["font.family"] == ["sans-serif"]


def test_no_absolute_path_is_printed(build, tmp_path, monkeypatch):
    run, leave = whole(
        build,
        command=f"dialsum run --train-csv '{tmp_path}/my data/train.csv' --dev-csv={tmp_path}/dev.csv",
        train_csv=f"{tmp_path}/my data/train.csv",
        dev_csv=f"{tmp_path}/dev.csv",
        checkpoints={"kobart": str(tmp_path / "kobart")},
    )
    leave(
        "tta",
        "kobart",
        "failed",
        message=f'cannot read "{tmp_path}/a/b.csv" (file://{tmp_path}/c.csv) at {tmp_path}/d/e.py:12',
    )
    monkeypatch.setenv("HOME", str(tmp_path))  # which a command calls `~`
    md = write(run, tmp_path)[0][1].decode()
    assert str(tmp_path) not in md and str(tmp_path.parent) not in md
    assert "dialsum run --train-csv ~/'my data/train.csv' --dev-csv=~/dev.csv" in md
    assert f"dialsum resume {run.name} --runs ~/runs" in md
    assert (
        without_paths(r"see C:\Users\kim\a.csv, ./nowhere, ../x/y, https://a.b/c/d, and/or, 3/4")
        == "see …/a.csv, ./nowhere, ../x/y, https://a.b/c/d, and/or, 3/4"
    )


def test_a_very_long_message_is_cut(build):
    run, leave = build()
    leave("train", "kobart", "failed", message="\n".join(f"line {i}" for i in range(5000)))
    assert "4,980줄은 줄였습니다" in (md := render(read_experiment(run))) and "line 4000" not in md


def test_what_is_missing_is_said(build, tmp_path):
    run, leave = build(models=["kobart"])
    leave("data")
    leave("train", "kobart")
    md = write(run, tmp_path)[0][1].decode()
    for told in (
        "평가 결과가 없습니다",
        "평가를 마친 모델이 없어 제출할 시스템을 고를 수 없습니다",
        "제출 파일이 없습니다",
        "명령이 `experiment.json`에 기록되어 있지 않습니다",
        "기록이 없는 단계",
    ):
        assert told in md
    bare, leave = build("bare", asked=False)
    leave("evaluate", "kobart", found=dict(split=scored(40.0, null=None, lead2=None)))
    md = write(bare, tmp_path)[0][1].decode()
    for told in (
        "`experiment.json`이 없습니다",
        "실행 환경이 기록되어 있지 않습니다",
        "데이터를 준비한 기록이 없습니다",
        "점수가 낮은 대화의 기록이 없습니다",
        "무작위 기준과 비교한 기록이 없고",
    ):
        assert told in md


def test_sparse_facts_do_not_break_a_section(build, tmp_path):
    run, leave = build(models=["kobart", "qwen3-4b"])
    for stage in ("train", "evaluate", "predict"):
        leave(stage, "kobart", found=dict(other=1))
    for stage in ("data", "submit"):
        leave(stage, found=dict(other=1))
    nan = metrics("train") | dict(
        curve=[dict(epoch=1, loss=None), dict(epoch=2, loss=3.0)], best={}, dev_loss_before=None
    )
    leave("train", "qwen3-4b", found=nan)
    assert [name for name, _ in write(run, tmp_path)][-1].endswith("/numbers.csv")
    empty = Experiment("empty", ExperimentRecord(), [])
    assert "단계 0/0" in render(empty) and gantt(empty) is None and flowchart(empty) is None


def skip(leave, stage, of, code, **fields):
    leave(stage, of, "blocked", kind="optional", code=code, fields=fields)


def test_a_model_without_an_optional_stage_has_finished(build):
    run, leave = whole(build)
    skip(leave, "epoch_candidates", "kobart", "no_other_epoch_kept", model="kobart")
    e = read_experiment(run)
    assert "✅ **성공** · 모델 2/2 · 단계 8/8" in render(e)
    assert (
        "### 건너뛴 선택 단계" in (told := SECTIONS["failures"](e))
        and "| KoBART 다른 에폭 | 남겨 둔 에폭이 가장 좋은 에폭 하나뿐입니다: `kobart` |" in told
    )
    assert "실행되지 않은 단계" not in told


def test_what_was_optional_and_left_out_is_told(build):
    run, leave = whole(build)
    assert "건너뛴" not in SECTIONS["failures"](read_experiment(run))
    skip(
        leave,
        "api",
        "",
        "key_missing",
        host="api.upstage.ai",
        variables=["UPSTAGE_API_KEY", "SOLAR_API_KEY"],
    )
    assert (
        "| API 요약 | `api.upstage.ai`에 접속하려면 키가 필요합니다. 환경 변수"
        in SECTIONS["failures"](read_experiment(run)).split("### 건너뛴 선택 단계")[1]
    )


@pytest.mark.parametrize(
    "end",
    [
        None,
        dict(kind="optional", code="nothing_evaluated"),
        dict(message="x"),
    ],
    ids=["none", "skipped", "failed"],
)
def test_epochs_are_compared_without_an_ensemble(build, end):
    run, leave = whole(build)

    def row(system, mean, **more):
        return dict(system=system, mean=mean, low=mean - 1, high=mean + 1) | more

    leave(
        "epoch_candidates",
        "kobart",
        found=dict(
            systems=[
                row("best", 40.0),
                row(
                    "epoch2",
                    41.5,
                    difference=1.5,
                    difference_low=-0.5,
                    difference_high=3.5,
                    p=0.2,
                    p_holm=0.4,
                ),
            ]
        ),
    )
    if end:
        leave("ensemble", status="blocked" if "kind" in end else "failed", **end)
    told = SECTIONS["ensemble"](read_experiment(run))
    assert (
        "| 모델 | ROUGE 평균 | 고른 에폭 | 차이 | p(Holm) |" in told
        and "| KoBART 에폭 2 | 41.50 [40.50, 42.50] | 40.00 | +1.50 [-0.50, +3.50] | 0.400 |" in told
    )


def test_folds_stand_for_themselves(build):
    run, leave = build()
    (run / "kobart").mkdir()
    for stage, fold in (("train", 0), ("evaluate", 0), ("train", 1), ("evaluate", 1)):
        leave(stage, "kobart", fold=fold, found=metrics(stage, 30.0 + fold), folder=f"kobart/fold{fold}")
    for stage in ("train", "evaluate"):
        leave(stage, "kobart", found=metrics(stage, 29.0))
    means = [metrics("evaluate", 30.0 + fold)["split"]["mean"]["f"] for fold in (0, 1)]
    leave(
        "folds",
        "kobart",
        found=metrics("evaluate", 30.5)
        | dict(
            folds=[dict(fold=k, rows=5, mean=m) for k, m in enumerate(means)],
            spread=dict(mean=sum(means) / 2, std=0.71),
        ),
    )
    leave("data")
    e = read_experiment(run)
    md = render(e)
    assert (
        [s.label for s in e.ranking] == ["KoBART"]
        and len(e.by_model) == 1
        and "section KoBART 폴드 0" in md
        and f"| {means[0]:.2f} | {means[1]:.2f} |" in md
    )
    assert (
        len(flowchart(e).edges) == 8
    )  # data to each of three trainings, each to its own evaluation, two of those to the folds' sum


def test_a_later_run_on_other_versions_is_named(build):
    run, _leave = whole(build)
    path = next(run.glob("*/evaluate.json"))
    fact = json.loads(path.read_text())
    path.write_text(json.dumps(fact | dict(environment=ENVIRONMENT | dict(package_code="f" * 16))))
    assert "다른 상태에서 실행된 단계가 있습니다" in render(
        read_experiment(run)
    ) and "다른 상태에서" not in render(read_experiment(whole(lambda **o: build("same", **o))[0]))


def test_refusals(build, tmp_path):
    with pytest.raises(DialsumError, match="neither experiment.json nor fact files"):
        write_report(tmp_path / "nothing", tmp_path / "reports")
    run, _leave = whole(build)
    (tmp_path / "file").write_text("")
    with pytest.raises(DialsumError, match="cannot write"):
        write_report(run, tmp_path / "file")
    (run / "data.json").write_text("{")
    with pytest.raises(DialsumError, match="not valid JSON"):
        write_report(run, tmp_path / "reports")


def test_durations_and_numbers():
    assert [duration(s) for s in (0.01, 0.3, 9.94, 9.96, 59.5, 119.6, 3599.9, 86400)] == [
        "0.1초 미만",
        "0.3초",
        "9.9초",
        "10초",
        "1분",
        "2분",
        "1시간",
        "24시간",
    ]


@pytest.mark.parametrize("text", HELL)
def test_an_escaped_text_is_one_line_and_keeps_its_letters(text):
    line = escape(text)
    assert "\n" not in line and len(cells(table(["a", "b"], [[line, line]]).split("\n")[2])) == 2

    def letters(s):
        return [c for c in s if c.isalnum()]

    assert letters(line) == letters(re.sub("[\0\x07\x1b\u202e]", "", text))


def test_the_letters_are_checked(monkeypatch):
    monkeypatch.setattr(
        "dialsum.report.figures._fonts", lambda: (["DejaVu Sans"], frozenset(range(0x110000)))
    )  # a font without Hangul, said to have everything
    for draw, fact in {
        draw_scores: fact_of("evaluate", metrics=dict(split=scored(40.0))),
        draw_engines: fact_of(
            "optimize", metrics=dict(rows=[dict(engine="hf", batch_size=1, throughput=1.0)])
        ),
    }.items():
        with pytest.warns(UserWarning, match="missing from font"):
            png(draw, [Step("", "kobart", None, fact)])


def test_many_models_fit_one_figure(build):
    e = read_experiment(whole(build, [f"model-{i}" for i in range(13)])[0])
    assert png(draw_losses, e.of(TrainMetrics)) and png(draw_rouge, e.of(TrainMetrics))


@pytest.mark.parametrize("seconds", [0, 1, 30, 600, 5000, 86400, 86400 * 9])
def test_the_time_axis_has_few_ticks(build, seconds):
    run, leave = build()
    leave("data")
    path = run / "data.json"
    from datetime import datetime, timedelta

    path.write_text(
        json.dumps(
            json.loads(path.read_text())
            | dict(finished=(datetime.fromisoformat(at(0)) + timedelta(seconds=seconds)).isoformat())
        )
    )
    n, unit = re.search(r"tickInterval (\d+)(\w+)", gantt(read_experiment(run)).mermaid()).groups()
    assert seconds / int(n) / dict(second=1, minute=60, hour=3600, day=86400)[unit] <= 8


def test_what_became_of_speedups_is_told(build):
    run, leave = build()
    used = dict(
        name="compile", active=True, loss=2.5, reference_loss=2.5, seconds=0.5, reference_seconds=1.25
    )
    missing = dict(name="liger", code="liger_without_cuda")
    found = metrics("train") | dict(speedups=[missing, used], deepspeed=dict(zero_optimization=dict(stage=2)))
    leave("train", "kobart", found=found)
    text = section_training(read_experiment(run))
    [off, on] = [line for line in text.splitlines() if "학습 가속" in line and line.startswith("- ")]
    assert "`liger`" in off and off.endswith("이 학습은 CPU에서 계산합니다.")
    assert "`compile`" in on and "1.25초" in on and "0.50초" in on
    assert "ZeRO 2단계(GPU에서 시험하지 않음)" in text
