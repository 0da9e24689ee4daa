"""Experiments made of facts alone: nothing was trained"""

import itertools
import json
import re
from types import SimpleNamespace

import pytest

from dialsum.models.cards import CARDS
from dialsum.models.sizes import parameter_counts
from dialsum.pipeline.failed_stage import with_diagnosis
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


def builder(folder):
    "A function that writes an experiment.json and returns (run folder, function that leaves a fact)"

    def experiment(name="20261121_012847_test", asked=True, parent="runs", **options):
        run = folder / parent / name
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
            traceback="",
        ):
            error = None
            if status != "success":
                error = make_error(kind, "RuntimeError", code, fields, message, f"errors/{stage}.log")
                if traceback:  # what an executor finds in it
                    error = with_diagnosis(SimpleNamespace(stage=stage), error, traceback)
                error = error.to_dict()
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


@pytest.fixture
def build(tmp_path):
    return builder(tmp_path)


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
            leave("train", model, start=i, found=metrics("train") | dict(scale="full"))
        if i % 3 == 1:
            leave("evaluate", model, "blocked", message=text, kind=text)
        elif i % 3 == 0:
            leave(
                "evaluate",
                model,
                found=metrics("evaluate", 50.0) | dict(worst=[case(text) | dict(fname=text)], scale="full"),
            )
    leave(
        "evaluate",
        "kobart",
        found=metrics("evaluate", 90.0)
        | dict(
            scale="full",
            worst=[
                dict(
                    fname=t,
                    dialogue="\n".join([t, f"#Person1#: {t}", *HELL]),
                    reference=f"{t}\ud83d",
                    prediction="\n".join(HELL),
                    mean=None,
                )
                for t in HELL[:5]
            ],
        ),
    )
    return run


# large ones: what a report looks like when everything was asked for

SIX = ["kobart", "llama-3.2-korean-3b", "qwen3-4b", "solar-10.7b", "polyglot-ko-12.8b", "kullm-v2"]
NO_MEMORY = (
    "CUDA out of memory. Tried to allocate 1.25 GiB. GPU 0 has a total capacity of 39.39 GiB, "
    "of which 512 MiB is free."
)
NO_MEMORY_TRACE = f"""Traceback (most recent call last):
  File "/data/dialsum/training/fine_tuning.py", line 210, in train
    outputs = self.trainer.train()
  File "/data/.venv/lib/python3.11/site-packages/transformers/trainer.py", line 2345, in train
    return inner_training_loop()
  File "/data/.venv/lib/python3.11/site-packages/torch/nn/functional.py", line 1704, in dropout
    return _VF.dropout(input, p, training)
RuntimeError: {NO_MEMORY}
"""
QUALITY = dict(
    rows=12457,
    dropped=214,
    threshold=0.8,
    action="drop",
    kinds={
        kind: dict(train=count, dev=count // 10, test=0)
        for kind, count in dict(mojibake=31, duplicate=92, broken_tag=73, copied=18, length=120).items()
    },
    parts={
        part: dict(rows=rows, errors=bad, warned=rows // 100, bad=bad, score_mean=0.981, score_min=0.1)
        for part, rows, bad in (("train", 12457, 214), ("dev", 499, 9), ("test", 499, 0))
    },
    worst=[
        dict(
            part="train",
            fname="train_7",
            score=0.4,
            reasons="깨진 글자(요약: ê°€); 길이 이상(긴 대화: 1,306자)",
        )
    ],
)
AUGMENTATION = dict(
    rows=12243,
    asked=6122,
    made=5980,
    ratio=0.5,
    methods=dict(
        synonym=dict(made=3061, left_out=12, dropped=240),
        turn_shuffle=dict(made=2919, left_out=0, dropped=31),
    ),
    reasons=dict(synonym=dict(figures=200, far=40), turn_shuffle=dict(broken_tag=31)),
)


def by_dialogue(mean, count=40):
    "A score for each dialogue, that mean to so many; dialogues differ far more than models"
    return [mean - 24.5 + 7 * (i % 8) for i in range(count)]


def differences(mean, null=16.0, lead2=22.0):
    "The differences to the rows that a score has to clear, as dialsum.scores.rouge writes them"
    return {
        row: {kind: dict(f=mean - f, low=mean - f - 1.5, high=mean - f + 1.5) for kind in ("rouge1", "mean")}
        for row, f in dict(null=null, lead2=lead2).items()
    }


def evaluation(mean, **faults):
    "An evaluation with all that the stage measures; faults: kind → share of 40 summaries"
    kinds = dict(omission=0.3, repetition=0.05, broken_tag=0.0, cut=0.025) | faults
    counts = {kind: int(40 * share) for kind, share in kinds.items()}
    examples = [dict(fname="dev_0", found=["#Person2#", "9시"])]
    return metrics("evaluate", mean) | dict(
        split=scored(mean) | dict(n=40, differences=differences(mean)),
        whole=scored(mean / 2, "whole", null=8.0, lead2=11.0)
        | dict(n=40, differences=differences(mean / 2, 8.0, 11.0)),
        per_dialogue=by_dialogue(mean),
        rows=40,
        reached=3,
        decoding=dict(do_sample=False, num_beams=4, max_new_tokens=96, repetition_penalty=1.2),
        fitted=dict(
            length_control=False, whole_sentences=True, tried=dict(plain=mean - 1, whole_sentences=mean)
        ),
        faults=dict(
            rows=40,
            faulty=14,
            kinds={
                kind: dict(count=count, references=1, examples=examples if count else [])
                for kind, count in counts.items()
            },
        ),
        worst=[case(i=i) for i in range(2)],
        best=[case(i=i) for i in (8, 9)],
        scale="full",
    )


def compared(system, mean, than=None, p=0.2):
    "A row of `significance.compare`; than: the mean of the system that it is compared with"
    row = dict(system=system, mean=mean, low=mean - 1, high=mean + 1)
    if than is None:
        return row
    change = mean - than
    return row | dict(
        difference=change, difference_low=change - 0.8, difference_high=change + 0.8, p=p / 2, p_holm=p
    )


def flattered(choice, chosen, *others, points=None):
    "How much too good the score of what was chosen is; points: None where nobody can say"
    known = {} if points is None else dict(optimism=points, low=points - 0.2, high=points + 0.2)
    return dict(choice=choice, chosen=chosen, candidates=[chosen, *others]) | known


def engines(chosen="int8"):
    "What the optimize stage measures of four engines"
    rows = []
    for i, engine in enumerate(("hf", "hf-bf16", "int8", "ctranslate2")):
        speed = dict(throughput=2.5 * (1 + i), latency=1.5 / (1 + i), peak=2.5, disk=0.5)
        same = dict(identical=1 - i / 10, difference=[-0.1 * i, -0.5, 0.3], dialogues=40)
        rows.append(dict(engine=engine, batch_size=16) | speed | same)
    left_out = dict(code="engine_takes_too_long", fields=dict(needed=20.0, left=3.0))
    skipped = {"ctranslate2-int8": left_out}
    return dict(engine=chosen, batch_size=16, rows=rows, skipped=skipped, seconds=41.5, device="cuda")


def ensemble(members, best, mean, mean_single=None):
    "What the ensemble stage measures of its strategies"

    def measure(mean, was_utility, mean_single=mean_single):
        systems = [compared("best", mean), compared("mbr", mean + 1.2, mean, 0.01)]
        systems += [
            compared("weighted_avg", mean + 0.9, mean, 0.03),
            compared("stacking", mean - 0.4, mean, 0.6),
        ]
        return dict(
            mean_single=mean - 2 if mean_single is None else mean_single,
            oracle=mean + 9,
            systems=systems,
            was_utility=was_utility,
        )

    return dict(
        n=40,
        members=list(members),
        best=best,
        utility="rouge",
        swaps=10000,
        chance=[],
        metrics=dict(rouge=measure(mean, True), chrf=measure(mean + 5, False)),
        strategy="mbr",
        votes=dict.fromkeys(members, 1.0),
        dropped={
            "qwen3-4b/fold1": dict(
                code="member_too_weak",
                fields=dict(
                    member="qwen3-4b/fold1",
                    score=17.2,
                    best=best,
                    best_score=mean,
                    chance=16.0,
                    share=0.5,
                ),
            )
        },
        split=scored(mean + 1.2) | dict(n=40, differences=differences(mean + 1.2)),
        optimism=[flattered("strategy", "mbr", "weighted_avg", "stacking", points=0.25)],
    )


def trained_parameters(model):
    "What a training says of its method and of its parameters, of which an adapter has one in a hundred"
    size = parameter_counts(CARDS[model])[0]
    adapter = 0 if CARDS[model].seq2seq else size // 100
    recipe = metrics("train")["recipe"] | dict(method=CARDS[model].method)
    return dict(recipe=recipe, parameters=size + adapter, trainable=adapter or size)


def model_stages(leave, run, model, start, mean, folds):
    "What a model that went through everything leaves; folds: how many"
    (run / model).mkdir(exist_ok=True)
    where = dict(folder=model)
    train = metrics("train") | dict(scale="full", rows=9966, dev_rows=40, kept=[])
    for i, epoch in enumerate(train["evaluations"]):  # the last is the best
        epoch |= dict.fromkeys(("rouge1", "rouge2", "rougeL", "rouge_mean"), mean - 2 + i)
    train |= trained_parameters(model)
    train |= dict(optimism=[flattered("epoch", "epoch3", "epoch1", "epoch2", points=0.1)])
    leave("train", model, start=start, seconds=20, found=train, **where)
    leave("evaluate", model, start=start + 20, seconds=9, found=evaluation(mean), inputs=DEV, **where)
    leave("optimize", model, start=start + 30, seconds=40, found=engines(), **where)
    predicted = dict(rows=499, engine="int8", batch_size=16, seconds=31.0, scale="full")
    leave("predict", model, start=start + 70, seconds=31, found=predicted, **where)
    tta = dict(rows=40, changed=7, cost=3.6, plain=mean, gain=compared("tta", mean + 0.3, mean))
    tta |= dict(split=scored(mean + 0.3) | dict(n=40), strategies="window,mask", views={"": 33, "mask": 7})
    leave("tta", model, start=start + 30, seconds=26, found=tta, **where)
    for fold in range(folds):
        where = dict(fold=fold, folder=f"{model}/fold{fold}")
        leave("train", model, start=start + 100 + 15 * fold, seconds=10, found=train, **where)
        leave(
            "evaluate",
            model,
            start=start + 110 + 15 * fold,
            seconds=4,
            found=evaluation(mean + fold / 5),
            **where,
        )
    if folds:
        means = [mean + fold / 5 for fold in range(folds)]
        spread = dict(mean=sum(means) / folds, std=0.32, min=means[0], max=means[-1])
        rows = [dict(fold=fold, rows=2491, mean=mean) for fold, mean in enumerate(means)]
        found = dict(split=scored(spread["mean"]) | dict(n=12457), folds=rows, spread=spread, rows=12457)
        leave("folds", model, start=start + 190, seconds=1, found=found, folder=model)


DEV = {"data/dev.csv": "d" * 64}


def checked(models, findings):
    "What the preflight leaves; findings: model → what was found of it"
    by_model = {model: dict(ok=True, findings=[]) for model in models}
    for model, found in findings.items():
        by_model[model] = dict(ok=all(f["severity"] != "error" for f in found), findings=found)
    return dict(ok=True, seconds=4.2, rehearsed=True, models=by_model)


def few_updates(count=12):
    "A warning of the preflight"
    fields = dict(updates=count, epochs=3, rows=64, batch=16, few=50)
    return dict(severity="warning", code="few_updates", fields=fields, where="epochs, batch_size")


def six_models_five_folds(build, models=SIX, lost=()):
    "Six models in five folds with everything switched on; all went well, but for the trainings of those that are lost"
    run, leave = build(
        name="20261121_012847_six_by_five",
        models=list(models),
        mode="full",
        scale="full",
        workers=1,
        rehearse=True,
        checkpoints={},
        k_folds=5,
        use_tta=True,
        tta_strategies="window,mask",
        optimize_inference=True,
        ensemble_strategy="",
        ensemble_members="models,folds",
        validate_data_quality=True,
        use_augmentation=True,
        augmentation_methods="synonym,turn_shuffle",
        command="dialsum run --mode full --k-folds 5 --use-tta --tta-strategies window mask --optimize-inference "
        "--ensemble-members models folds --use-augmentation --augmentation-methods synonym turn_shuffle",
    )
    leave("preflight", found=checked(models, {"kobart": [few_updates()], "qwen3-4b": [few_updates()]}))
    dealt = dict(k=5, seed=42, rows=[2449, 2449, 2449, 2448, 2448])
    leave(
        "data",
        found=metrics("data") | dict(quality=QUALITY, augmentation=AUGMENTATION, folds=dealt),
        params=dict(use_augmentation=True, augmentation_methods="synonym,turn_shuffle"),
        seconds=9,
    )
    scores = {model: 42.5 - 2.5 * i for i, model in enumerate(models) if model not in lost}
    for i, model in enumerate(models):
        if model in lost:
            broken_stages(leave, run, model, 30 + 200 * i, folds=5)
        else:
            model_stages(leave, run, model, 30 + 200 * i, scores[model], folds=5)
    mean_single = sum(scores.values()) / len(scores)
    leave("ensemble", start=1400, seconds=12, found=ensemble(list(scores), "kobart", 42.5, mean_single))
    candidates = [dict(model=m, score=score, predictions=f"{m}/p.csv") for m, score in scores.items()]
    candidates.insert(0, dict(model="ensemble", score=43.7, predictions="predictions_ensemble_test.csv"))
    found = dict(chosen="ensemble", metric="mean", rows=499, candidates=candidates)
    found |= dict(systems=[compared(models[0], 42.5), compared("ensemble", 43.7, 42.5, 0.02)])
    found |= dict(optimism=[flattered("submission", "ensemble", *scores, points=0.12)])
    leave("submit", start=1415, found=found)
    return run, leave


def demo(build):
    "What `dialsum demo` leaves: six replicas, all at chance level, an ensemble that is the best of them, a submission"
    run, leave = build(
        name="20261121_012847_demo", models=SIX, scale="replica", workers=2, command="dialsum demo"
    )
    no_padding = dict(severity="warning", code="no_pad_token", fields={}, where="")
    leave("preflight", found=checked(SIX, {"solar-10.7b": [no_padding]}) | dict(rehearsed=False))
    parts = {
        part: dict(rows=16, errors=0, warned=1, bad=0, score_mean=1.0, score_min=0.9)
        for part in QUALITY["parts"]
    }
    quality = dict(
        rows=64,
        dropped=0,
        threshold=0.8,
        kinds=dict(turns=dict(train=4, dev=0, test=0), length=dict(train=3, dev=1, test=0)),
    )
    leave("data", found=metrics("data") | dict(quality=quality | dict(parts=parts, worst=[])), seconds=6)
    scores = {model: 17.9 - 2 * i for i, model in enumerate(SIX)}
    for i, (model, mean) in enumerate(scores.items()):
        demo_stages(leave, model, 10 + 30 * i, mean)
    rows = [compared("best", 17.9)] + [
        compared(name, 12.0, 17.9) | dict(p=None, p_holm=None) for name in ("mbr", "weighted_avg")
    ]
    measures = {name: dict(mean_single=13.0, oracle=22.0, systems=rows) for name in ("rouge", "chrf")}
    found = dict(n=16, members=SIX, best=SIX[0], utility="rouge", chance=["best", "mbr", "weighted_avg"])
    found |= dict(metrics=measures, strategy="best", dropped={}) | at_chance(17.9)
    leave("ensemble", start=200, seconds=1.3, found=found, params=dict(ensemble_strategy=""))
    candidates = [dict(model=m, score=score, predictions=f"{m}/p.csv") for m, score in scores.items()]
    candidates.insert(1, dict(model="ensemble", score=17.9, predictions="predictions_ensemble_test.csv"))
    optimism = [flattered("submission", *scores, points=0.7)]
    leave(
        "submit",
        start=203,
        seconds=0.3,
        found=dict(chosen=SIX[0], metric="mean", rows=16, candidates=candidates, optimism=optimism),
    )
    return run, leave


def at_chance(mean):
    "The scores of a system whose null row is as high as itself"
    wrong = dict(broken_tags=0.9, foreign=0.5, undecodable=0.1, equal_r1_rl=0.9, length_ratio=3.5)
    split = scored(mean, null=mean, **wrong) | dict(differences=differences(mean, mean))
    whole = scored(mean / 2, "whole", null=mean / 2) | dict(differences=differences(mean / 2, mean / 2))
    return dict(split=split, whole=whole)


def demo_stages(leave, model, start, mean):
    "What a replica leaves in a demo: four epochs, summaries that are no better than chance, predictions"
    of_model = dict(model=model, folder=model)
    evaluations = [
        dict(epoch=i, step=8 * i, loss=7.5 - i / 10, rouge_mean=mean - 4 + i) for i in (1, 2, 3, 4)
    ]
    train = metrics("train") | dict(evaluations=evaluations, best=evaluations[-1], steps=32)
    train |= dict(optimism=[flattered("epoch", "epoch4", "epoch1", points=0.6)])
    leave("train", start=start, seconds=15, found=train, **of_model)
    fitted = dict(length_control=False, whole_sentences=False, tried=dict(plain=mean, whole_sentences=mean))
    decoding = dict(do_sample=False, num_beams=1, max_new_tokens=72)
    evaluate = (
        metrics("evaluate") | at_chance(mean) | dict(per_dialogue=by_dialogue(mean, 16), rows=16, reached=2)
    )
    evaluate |= dict(decoding=decoding, fitted=fitted)
    leave("evaluate", start=start + 15, seconds=5, found=evaluate, inputs=DEV, **of_model)
    leave("predict", start=start + 20, seconds=2, **of_model)


def two_of_four_broken(build):
    "Four models with folds, TTA, stacking and optimization, of which two fail; an API without its key; resumed once"
    models = ("kobart", "qwen3-4b", "solar-10.7b", "kullm-v2")
    run, leave = build(
        name="20261121_012847_broken",
        models=list(models),
        mode="multi_model",
        scale="full",
        workers=2,
        rehearse=True,
        checkpoints={},
        k_folds=2,
        use_tta=True,
        optimize_inference=True,
        ensemble_strategy="stacking",
        command="dialsum run --models kobart qwen3-4b solar kullm-v2 --k-folds 2 --use-tta --optimize-inference "
        "--ensemble-strategy stacking --runs /data/runs --train-csv '/data/대회 자료/train.csv'",
    )
    leave("preflight", found=checked(models, {"solar-10.7b": [few_updates(9)]}) | dict(rehearsed=False))
    leave("data", found=metrics("data") | dict(folds=dict(k=2, seed=42, rows=[6229, 6228])), seconds=9)
    for i, model in enumerate(models[:2]):
        model_stages(leave, run, model, 30 + 200 * i, 40.0 - 0.4 * i, folds=2)
    for i, model in enumerate(models[2:]):
        broken_stages(leave, run, model, 430 + 30 * i, folds=2)
    key = dict(host="api.upstage.ai", variables=["UPSTAGE_API_KEY", "SOLAR_API_KEY"])
    leave("api", status="blocked", kind="optional", code="key_missing", fields=key, start=500, seconds=0)
    leave("ensemble", start=520, seconds=12, found=ensemble(models[:2], "kobart", 40.0))
    candidates = [dict(model="ensemble", score=41.2, predictions="predictions_ensemble_test.csv")]
    candidates.append(dict(model="kobart", score=40.0, predictions="kobart/predictions_test.csv"))
    leave("submit", start=540, found=dict(chosen="ensemble", metric="mean", rows=499, candidates=candidates))
    resumed_once(run, "dialsum resume broken --num-beams 2", num_beams=[None, 2])
    return run, leave


def broken_stages(leave, run, model, start, folds):
    "What a model leaves whose trainings find no memory, in whole and in its folds; folds: how many"
    (run / model).mkdir(exist_ok=True)
    for fold in (None, *range(folds)):
        where = dict(fold=fold, folder=model if fold is None else f"{model}/fold{fold}")
        leave("train", model, "failed", start, 6, message=NO_MEMORY, traceback=NO_MEMORY_TRACE, **where)
        prefix = model if fold is None else f"{model}/fold{fold}"
        fields = dict(stage=f"{prefix}/evaluate", missing=[f"{prefix}/train"])
        blocked = dict(status="blocked", kind="blocked", code="stage_blocked", start=start + 6, seconds=0)
        leave("evaluate", model, fields=fields, **blocked, **where)
        if fold is None:
            for stage in ("predict", "tta", "optimize"):
                leave(stage, model, fields=fields | dict(stage=f"{model}/{stage}"), **blocked, **where)
    fields = dict(stage=f"{model}/folds", missing=[f"{model}/fold{fold}/evaluate" for fold in range(folds)])
    leave("folds", model, fields=fields, **blocked, folder=model)


def resumed_once(run, command, **changed):
    "Note in experiment.json that it went on; changed: option → [before, since]"
    path = run / "experiment.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    left = {"kobart/evaluate": dict(code="input_changed", fields=dict(name="data/dev.csv"))}
    attempt = dict(time=at(400), command=command, changed=changed, left=left)
    options = record["options"] | {name: values[1] for name, values in changed.items()}
    path.write_text(to_json(record | dict(options=options, attempts=[attempt])), encoding="utf-8")
