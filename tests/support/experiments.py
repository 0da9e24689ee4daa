"""Experiments made of facts alone: nothing was trained"""

import itertools
import json
import re

import pytest

from dialsum.pipeline.metrics import METRICS
from dialsum.runs.error_facts import make_error
from dialsum.runs.files import to_json
from dialsum.runs.records import SCHEMA, Fact, Metrics

# as users of an older project typed it: everything at once
TYPED = """--mode full --models all --epochs 20 --batch_size 8 --learning_rate 5e-6
  --gradient_accumulation_steps 4 --warmup_ratio 0.1 --weight_decay 0.01 --max_grad_norm 1.0 --label_smoothing 0.1
  --use_augmentation --augmentation_methods back_translation paraphrase synonym turn_shuffle --augmentation_ratio 0.5
  --k_folds 5 --fold_seed 42 --ensemble_strategy stacking
  --use_tta --tta_strategies paraphrase reorder synonym mask --tta_num_aug 5
  --use_solar_api --solar_model solar-1-chat --prompt_strategy self_consistency
  --validate_data_quality --quality_threshold 0.8
  --optimize_inference --optimization_method tensorrt --use_batch_optimization
  --num_beams 8 --temperature 0.7 --top_p 0.9 --top_k 50 --repetition_penalty 1.2 --length_penalty 1.0 --no_repeat_ngram_size 3
  --use_wandb --wandb_project final-submission --save_visualizations --experiment_name final_all_models_premium --seed 42"""
HELL = [
    "a|b",
    "\\|",
    "# 제목",
    "```",
    "~~~",
    "<script>alert(1)</script>",
    "</details>",
    "<!--",
    "*굵게* _기울임_ ~~줄~~",
    "[링크](http://a.b)",
    "![그림](a)",
    "줄\n바꿈\r\n둘\u2028셋",
    "\0\x07\x1b[31m",
    "\u202e거꾸로",
    "$x$",
    "&amp;",
    "---",
    "===",
    "1. 목록",
    "- 목록",
    "> 인용",
    "end",
    '"따옴표"',
    "it's; a:b, c#d",
    '%%{init: {"theme": "dark"}}%%',
    "%% 주석",
    "A[KoBART (124M)]",
    "-->",
    "click s0 callback",
    "section x",
    "",
    " ",
    "긴" * 500,
    "😀",
    "漢字",
    "\\",
    "`",
    "#35;",
    'x"]:::failed\ns0 --> s1',
]
ENVIRONMENT = dict(
    python="3.11.7",
    system="Linux",
    machine="x86_64",
    cores=2,
    memory_gib=23.5,
    gpus=[],
    packages={"torch": "2.13.0"},
    package_code="0123456789abcdef",
    commit=None,
    dirty=True,
)
SIGNATURE = "f1x100|tok:mecab[python-mecab-ko=1.3.7]|tags:{}|refs:1|multi:mean"


def at(second):
    return f"2026-11-21T01:{second // 60:02d}:{second % 60:02d}.500+00:00"


def scored(mean, tags="split", null=16.0, lead2=22.0, **diagnostics):
    "A score table as dialsum.scores.rouge writes it"

    def row(f):
        return (
            None
            if f is None
            else {k: dict(f=f, low=f - 1, high=f + 1) for k in ("rouge1", "rouge2", "rougeL", "mean")}
        )

    found = (
        dict(
            empty=0.0,
            broken_tags=0.0,
            invented_tags=0.0,
            foreign=0.0,
            undecodable=0.0,
            equal_r1_rl=0.05,
            length_ratio=1.0,
        )
        | diagnostics
    )
    return dict(
        signature=SIGNATURE.format(tags),
        n=16,
        **row(mean),
        null=row(null),
        lead2=row(lead2),
        warnings=["the predictions are 0.10 times as long as the references: a trained model stays near 1."],
        diagnostics=found,
    )


def case(text="회의를 옮긴다", i=0):
    return dict(
        fname=f"dev_{i}",
        dialogue=f"#Person1#: {text}\n#Person2#: 네.",
        reference=text,
        prediction=text,
        rouge1=1.0,
        rouge2=1.0,
        rougeL=1.0,
        mean=1.0,
    )


def metrics(stage, mean=40.0):
    evaluations = [
        dict(epoch=i, step=8 * i, loss=7.5 - i / 10, rouge1=9.0, rouge2=5.0, rougeL=9.0, rouge_mean=8.0 + i)
        for i in (1, 2, 3)
    ]
    return dict(
        data=dict(
            train=dict(
                rows=12457,
                dialogue_mean=406.1,
                dialogue_max=2165,
                turns_mean=9.5,
                turns_max=59,
                summary_mean=85.3,
                summary_max=376,
            ),
            test=dict(rows=499, dialogue_mean=400.0, dialogue_max=1270, turns_mean=9.5, turns_max=29),
        ),
        train=dict(
            parameters=885120,
            trainable=49152,
            recipe=dict(method="lora", epochs=3, batch_size=8, learning_rate=5e-3),
            precision=dict(weights="float32", amp="no", device="cpu"),
            rows=64,
            steps=24,
            train_seconds=2.8,
            rows_per_second=69.0,
            dev_loss_before=8.2,
            curve=[dict(epoch=i / 8, step=i, loss=8.2 - i / 20) for i in range(1, 25)],
            evaluations=evaluations,
            best=evaluations[-1],
            scale="replica",
        ),
        evaluate=dict(
            split=scored(mean),
            whole=scored(mean / 2, "whole"),
            worst=[case(i=i) for i in range(5)],
            scale="replica",
        ),
        predict=dict(rows=16, scale="replica"),
        submit=dict(
            chosen="kobart",
            metric="mean",
            candidates=[dict(model="kobart", score=mean, predictions="kobart/predictions_test.csv")],
        ),
    )[stage]


def fact_of(stage, **content):
    "A fact as a reader of all stages has it"
    return Fact[METRICS.get(stage, Metrics)].model_validate(dict(stage=stage, status="success") | content)


def paired(leave, model, values, data="d" * 64, **more):
    "Leave an evaluation with the score of each dialogue, on the dev set whose hash is `data`"
    leave(
        "evaluate",
        model,
        found=dict(split=scored(sum(values) / len(values)) | more, per_dialogue=values),
        inputs={"data/dev.csv": data, f"{model}/model": model * 4},
    )


def is_korean(finding, *parts: str) -> bool:
    "Whether the report tells these parts of a finding in Korean (without any: what, why and remedy)"
    message = finding.message("ko")
    return all(re.search("[가-힣]", getattr(message, part)) for part in parts or ("what", "why", "remedy"))


@pytest.fixture
def build(tmp_path):
    "A function that writes an experiment.json and returns (run folder, function that leaves a fact)"

    def experiment(name="20261121_012847_test", asked=True, parent="runs", **options):
        run = tmp_path / parent / name
        run.mkdir(parents=True)
        if asked:
            (run / "experiment.json").write_text(
                to_json(
                    dict(
                        schema=SCHEMA,
                        experiment=name,
                        created=at(0),
                        options=options,
                        environment=ENVIRONMENT,
                    )
                )
            )
        count = itertools.count()

        def leave(
            stage,
            model="",
            status="success",
            start=0,
            seconds=1.5,
            found=None,
            message="",
            kind="exception",
            fold=None,
            folder=None,
            inputs=None,
            params=None,
            code="",
            fields=None,
        ):
            error = None
            if status != "success":
                error = make_error(
                    kind, "RuntimeError", code, fields, message, f"errors/{stage}.log"
                ).to_dict()
            fact = dict(
                schema=SCHEMA,
                experiment=name,
                stage=stage,
                model=model or None,
                fold=fold,
                status=status,
                started=at(start),
                finished=at(start + int(seconds)),
                seconds=seconds,
                params=dict(run=str(run)) | (params or {}),
                inputs=inputs or {},
                outputs={f"{stage}.csv": "0" * 64},
                identity="",
                metrics=(found or metrics(stage)) if status == "success" else {},
                environment=ENVIRONMENT,
                error=error,
            )
            place = run / (folder or f"m{next(count)}") if model else run
            place.mkdir(exist_ok=True)
            (place / f"{stage}.json").write_text(
                json.dumps(fact), encoding="ascii"
            )  # keeps half an emoji, which UTF-8 refuses

        return run, leave

    return experiment


def whole(build, models=("kobart", "qwen3-4b"), **options):
    "An experiment in which everything went well"
    run, leave = build(models=list(models), scale="replica", **options)
    leave("data")
    for i, m in enumerate(models):
        for stage in ("train", "evaluate", "predict"):
            leave(stage, m, start=10 * i, seconds=5, found=metrics(stage, 40.0 - 10 * i))
    leave("submit", start=40)
    return run, leave


@pytest.fixture
def hell(build):
    "An experiment whose every name, dialogue, message and option is hostile"
    names = [text if text.strip() else f"빈{i}" for i, text in enumerate(HELL)]
    run, leave = build(models=[*names, "kobart"], command="x ``` y\n```", **{k: k for k in HELL[3:] if k})
    leave("data", found={k: dict(rows=1) for k in HELL if k})
    for i, (text, model) in enumerate(zip(HELL, names)):
        if i % 3 == 2:
            leave("train", model, "failed", i, message=text)
        else:
            leave("train", model, start=i)
        if i % 3 == 1:
            leave("evaluate", model, "blocked", message=text, kind=text)
        elif i % 3 == 0:
            leave(
                "evaluate",
                model,
                found=metrics("evaluate", 50.0) | dict(worst=[case(text) | dict(fname=text)]),
            )
    leave(
        "evaluate",
        "kobart",
        found=metrics("evaluate", 90.0)
        | dict(
            worst=[
                dict(
                    fname=t,
                    dialogue="\n".join([t, f"#Person1#: {t}", *HELL]),
                    reference=f"{t}\ud83d",
                    prediction="\n".join(HELL),
                    mean=None,
                )
                for t in HELL[:5]
            ]
        ),
    )
    return run
