"""Two experiments that were reported on by hand: what of those reports is a fact, ours tells, too

The facts are read from the tables and timelines of the documents, which may not be redistributed; without them these tests skip."""

import json
import re

import pytest

from dialsum.checks.diagnosis import diagnose
from dialsum.models.cards import CARDS
from dialsum.report.document import render
from dialsum.report.experiment import read_experiment
from dialsum.runs.records import ErrorRecord

SIX = [c.name for c in CARDS.values() if c.group == "all"]

SIGNATURES = dict(model="f1x1|tok:rouge_score[a-z0-9]|refs:1", api="f1x1|tok:unknown|refs:1")


def api_facts(split):
    "What fifty rows by an API came to, all answered at once"
    return dict(
        model="solar-1-chat",
        strategy="zero_shot",
        rows=50,
        answered=50,
        valid=50,
        asked_again=0,
        requests=50,
        retries=0,
        cached=0,
        prompt_tokens=0,
        completion_tokens=0,
        failed=[],
        stand_in=False,
        compared={},
        split=split,
    )


def numbers(text, **patterns):
    return {k: float(re.search(p, text)[1].replace(",", "")) for k, p in patterns.items()}


def rouges(text, before=r"eval_rouge", one="1", two="2", last="L", after=r'"?:?\s*\|?\s*'):
    return {
        k: 100 * float(re.search(before + n + after + r"\**\s*([\d.]+)", text)[1])
        for k, n in dict(rouge1=one, rouge2=two, rougeL=last).items()
    }


def scored(found, signature, n):
    mean = sum(found.values()) / 3
    return dict(
        signature=signature,
        n=n,
        **{k: dict(f=v, low=None, high=None) for k, v in (found | dict(mean=mean)).items()},
        null=None,
        lead2=None,
    )


def seconds(text):
    return sum(
        int(v) * u for v, u in zip(re.search(r"(?:(\d+)분 )?(\d+)초", text).groups(default="0"), (60, 1))
    )


def clock(text):  # '13:15'
    hours, minutes = text.split(":")
    return 60 * (60 * int(hours) + int(minutes))


def failed(run, leave, model, message, start, took, stage="train"):
    "A failed stage, understood as the pipeline does it"
    kind, _, said = message.partition(": ")
    known = next(
        (d for d in diagnose(message, stage, ErrorRecord.of(type=kind, message=said)) if d.kind != "unknown"),
        None,
    )
    leave(stage, model, "failed", start=start, seconds=took, message=said, folder=f"{model}-{stage}")
    path = run / f"{model}-{stage}" / f"{stage}.json"
    fact = json.loads(path.read_text())
    path.write_text(
        json.dumps(
            fact
            | dict(
                error=fact["error"]
                | dict(type=kind)
                | (
                    dict(
                        cause=known.cause,
                        remedy=known.remedy,
                        severity=known.severity,
                        diagnosis=known.kind,
                    )
                    if known
                    else {}
                )
            )
        )
    )
    return known


def blocked(leave, model, start, *stages):
    "What a model's training that failed leaves of its later stages"
    for stage in stages:
        fields = dict(stage=f"{model}/{stage}", missing=[f"{model}/train"])
        common = dict(kind="blocked", code="stage_blocked", fields=fields, start=start, seconds=0)
        leave(stage, model, "blocked", folder=f"{model}-train", **common)


@pytest.fixture
def first(build, shared):
    "2025-10-12 10:12, one of six models trained"
    text = (shared / "predecessor" / "20251012_101219_test_full_pipeline_quick.md").read_text(
        encoding="utf-8"
    )
    run, leave = build(
        "20251012_101219_test_full_pipeline_quick",
        models=SIX,
        ensemble_strategy="stacking",
        optimize_inference=True,
        use_solar_api=True,
        epochs=10,
    )
    leave(
        "data",
        found=dict(
            train=dict(rows=int(re.search(r"학습 데이터\*\*: ([\d,]+)", text)[1].replace(",", ""))),
            dev=dict(rows=int(re.search(r"검증 데이터\*\*: ([\d,]+)", text)[1])),
        ),
    )
    rows = [
        [c.strip() for c in line.strip().strip("|").split("|")]
        for line in text.split("Loss 감소 추이")[1].split("\n\n")[0].split("\n")[3:]
    ]
    curve = [
        dict(epoch=float(r[0]), step=int(r[1]), loss=float(r[2]), grad_norm=g)
        for r, g in zip(rows, (4.1, 6.0, 6.0, 8.8))
    ]
    evaluations = [
        dict(
            epoch=float(r[0]),
            step=int(r[1]),
            loss=float(r[3]),
            **{k: 100 * float(v) for k, v in zip(("rouge1", "rouge2", "rougeL"), r[4:7])},
            rouge_mean=sum(100 * float(v) for v in r[4:7]) / 3,
        )
        for r in rows
        if r[3] != "-"
    ]
    recipe = dict(method="full") | numbers(
        text,
        epochs=r'"epochs": (\d+)',
        batch_size=r'"batch_size": (\d+)',
        learning_rate=r'"learning_rate": ([\de-]+)',
        gradient_accumulation_steps=r'"gradient_accumulation_steps": (\d+)',
    )
    took = seconds(re.search(r"학습 시간\*\*: (\d+분 \d+초)", text)[1])
    leave(
        "train",
        "kobart",
        start=7,
        seconds=took,
        found=dict(
            recipe=recipe,
            curve=curve,
            evaluations=evaluations,
            best=evaluations[-1],
            steps=int(re.search(r"총 스텝\*\*: ([\d,]+)", text)[1].replace(",", "")),
            train_seconds=took,
            scale="full",
        ),
    )
    leave(
        "evaluate",
        "kobart",
        start=7 + took,
        seconds=numbers(text, s=r'eval_runtime": ([\d.]+)')["s"],
        found=dict(split=scored(rouges(text), SIGNATURES["model"], 499), scale="full"),
    )
    message = "NotImplementedError: " + " ".join(
        re.search(r'NotImplementedError: ("[^"]+")\s+(not implemented for \'BFloat16\')', text).groups()
    )
    causes = [
        failed(run, leave, "llama-3.2-korean-3b", message, 265, seconds("1분 58초")),
        failed(run, leave, "qwen3-4b", message, 383, seconds("14분 58초")),
    ]
    causes += [
        failed(
            run,
            leave,
            m,
            f"FileNotFoundError: [Errno 2] No such file or directory: 'configs/models/{m.replace('-', '_')}.yaml'",
            1281,
            1,
        )
        for m in ("solar-10.7b", "polyglot-ko-12.8b", "kullm-v2")
    ]
    for model in SIX[1:]:
        blocked(leave, model, 1282, "evaluate", "optimize")
    solar = rouges(text, "solar_rouge_", "1_f1", "2_f1", "l_f1")
    leave(
        "api",
        start=1283,
        seconds=1,
        found=api_facts(scored(solar, SIGNATURES["api"], 50)),
    )
    leave(
        "ensemble",
        status="blocked",
        kind="optional",
        start=1284,
        code="one_member_left",
        fields=dict(member="kobart"),
    )
    sizes = {
        int(n): seconds("0분 " + d if "분" not in d else d)
        for n, d in re.findall(r'"batch_size_(\d+)".*?"duration": "([^"]+)"', text, re.S)
    }
    leave(
        "optimize",
        "kobart",
        start=1284,
        seconds=seconds("18분 40초"),
        found=dict(
            engine="int8",
            batch_size=int(re.search(r'"optimal_batch_size": (\d+)', text)[1]),
            reason="",
            skipped={},
            seconds=seconds(re.search(r'"total_test_time": "([^"]+)"', text)[1]),
            rows=[
                dict(
                    engine="int8",
                    batch_size=n,
                    dialogues=100,
                    throughput=100 / s,
                    latency=s,
                    peak=0.0,
                    disk=120 / 1024,
                    identical=None,
                    difference=None,
                    stopped="",
                )
                for n, s in sizes.items()
            ],
        ),
    )
    return text, run, sizes, solar


def test_the_first_is_told_with_every_number_that_is_a_fact(first):
    _text, run, sizes, _solar = first
    md = render(read_experiment(run))
    for number in (
        "12,457",
        "499",
        "41.31",
        "25.42",
        "40.60",
        "1.764",
        "1.542",
        "1.456",
        "38.45",
        "1,558",
        "22.72",
        "7.65",
        "21.77",
        "4분 11초",
        "1분 58초",
        "14분 58초",
        "18분 40초",
        "5e-05",
        "10",
    ):
        assert number in md, number
    assert all(f"| {n} |" in md for n in sizes) and md.count("| int8 |") + md.count("| **int8** |") == 7
    assert (
        "한글을 읽는 토크나이저" in md
        and "비교할 수 없습니다" in md
        and "+18." not in md
        and "81.9" not in md
    )
    assert (
        "고를 것이 없어 앙상블은 하지 않았습니다" in md
        and "모델 1/6" in md
        and "BFloat16" in md
        and "No such file" in md
    )
    assert md.count("```mermaid") == 2 + 2 and "### P1 · bf16 가중치와 GradScaler의 충돌" in md
    assert (
        "SOLAR-10.7B·Polyglot-Ko-12.8B·KULLM-v2의 학습, 모두 3개" in md
        and "`configs/models/kullm_v2.yaml`" in md
    )
    assert "(`--epochs 15`)" in md and "(`--early-stopping-patience" not in md
    assert "한글을 읽지 못하는 채점기의 점수" in md.split("<summary>목차")[0]
    assert "--models kobart --scale full --epochs 15 --use-solar-api" in md
    assert "구조: 학습에 성공한 KoBART는 인코더-디코더, 실패한 모델은 디코더입니다." in md


def test_the_second_has_its_failures_with_causes_and_its_scores_apart(build, shared):
    text = (shared / "predecessor" / "20251012_131535_test_full_pipeline_quick.md").read_text(
        encoding="utf-8"
    )
    times = {}  # name in the timeline → (seconds after the start, seconds that it took)
    for name, begun, ended in re.findall(r":(?:done|crit), (\w+), (\d\d:\d\d), (\d\d:\d\d)", text):
        start = clock(begun) - clock("13:15")
        times[name] = start, clock(ended) - clock("13:15") - start
    run, leave = build(
        "20251012_131535_test_full_pipeline_quick",
        models=SIX,
        use_tta=True,
        use_solar_api=True,
        epochs=1,
        batch_size=8,
        learning_rate=5e-6,
    )
    part = text.split("### 4.1 학습 성능")[1].split("### 4.2")[0]
    own, loss = (
        rouges(part, r"ROUGE-", after=r"\**\s*\|\s*"),
        float(re.search(r"Loss\*\*\s*\|\s*([\d.]+)", part)[1]),
    )
    leave(
        "train",
        "kobart",
        seconds=240,
        found=dict(
            recipe=dict(
                method="full",
                epochs=1,
                batch_size=8,
                learning_rate=5e-6,
                gradient_accumulation_steps=4,
                warmup_ratio=0.1,
            ),
            best=dict(epoch=1, loss=loss, rouge_mean=sum(own.values()) / 3),
            evaluations=[dict(epoch=1, loss=loss, rouge_mean=sum(own.values()) / 3, **own)],
            curve=[],
            scale="full",
        ),
    )
    leave(
        "evaluate", "kobart", start=240, found=dict(split=scored(own, SIGNATURES["model"], 499), scale="full")
    )
    bfloat = re.search(r'NotImplementedError: "_amp.*BFloat16\'', text)[0]
    for name, m in dict(zip(("llama", "qwen", "solar", "polyglot"), SIX[1:5])).items():
        assert failed(run, leave, m, bfloat, *times[name]).severity == "P0"
    offload = " ".join(
        re.search(r"(ValueError: The current `device_map`.*?)\nAlternatively", text, re.S)[1].split()
    )
    failed(run, leave, "kullm-v2", offload, *times["kullm"])
    for model in SIX[1:]:
        blocked(leave, model, sum(times["kullm"]), "evaluate", "tta", "predict")
    api = rouges(
        text.split("### 5.1")[1].split("### 5.2")[0],
        "Solar ROUGE-",
        "1 F1",
        "2 F1",
        "L F1",
        after=r"\**\s*\|\s*",
    )
    leave(
        "api",
        start=times["solar_api"][0],
        found=api_facts(scored(api, SIGNATURES["api"], 50)),
    )
    failed(
        run,
        leave,
        "kobart",
        "ValueError: The following `model_kwargs` are not used by the model: ['token_type_ids']",
        times["inference"][0],
        5,
        "predict",
    )
    nothing = dict(kind="user", code="nothing_to_submit", fields=dict(run=run.name))
    leave("submit", status="failed", start=times["inference"][0] + 5, seconds=0, **nothing)
    md = render(read_experiment(run))
    for number in ("41.34", "25.52", "40.65", "1.456", "22.72", "7.65", "21.77", "5e-06"):
        assert number in md, number
    assert (
        "offload_folder" in md
        and "token_type_ids" in md
        and "비교할 수 없습니다" in md
        and "81.9%" not in md
        and "+231.4%" not in md
    )
    assert md.count("flowchart TD") == 3  # of five trainings four failed alike
    assert "### P0 · 모델이 받지 않는 `token_type_ids`" in md and "- **잃은 것:** 제출 파일. 이 실패로" in md
    assert "Polyglot-Ko-12.8B 학습의 실패는 13분을 쓴 뒤에 드러났습니다." in md
    assert "파라미터 수: 학습에 성공한 KoBART는 124M, 실패한 모델은 12.9B입니다." in md
