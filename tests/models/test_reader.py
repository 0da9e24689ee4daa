"What a Korean reader would object to in the reports of twenty experiments that never were"

import re
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.experiments import metrics, scored

from dialsum.checks.finding import Finding
from dialsum.models.cards import CARDS
from dialsum.report.document import anchor, render
from dialsum.report.experiment import read_experiment
from dialsum.report.labels import labels_of
from dialsum.report.sections.request import OPTIONS
from dialsum.runs.error_facts import error_sentence
from dialsum.runs.errors import DialsumError
from dialsum.runs.records import Coded
from dialsum.scores.summary_errors import FAULTS

TITLES = [
    c.title for c in CARDS.values() if not c.title.endswith("M")
]  # as Koreans read them, all of these end in a vowel
SIDES = dict(zip("은이을과", "는가를와"))
NEW = count()


def objections(md):
    "Sentences, or pieces of them, that no editor would let pass"
    text = re.sub(r"^(`{3,}).*?^\1$", "", md, flags=re.S | re.M)
    text = re.sub(r"`[^`\n]*`", "◆", re.sub(r"\]\([^)]*\)|<[^>\n]*>|!\[[^\]]*\]", "", text))
    found = re.findall(
        r".{0,30}\((?:은|는|이|가|을|를|과|와|으)\).{0,10}", text
    )  # a particle that is left open
    found += re.findall(
        r".{0,30}(?:\{\w*\}|\bNone\b|\bnan\b|\binf\b|\[\]|\{\}|%s).{0,10}", text
    )  # what was not filled in
    found += re.findall(r".{0,20}(?:[^| ]  +[^| ]| \.|\.\.|,,| ,|\( ).{0,10}", text.replace("…", ""))
    for title in TITLES:
        found += re.findall(rf"{re.escape(title)}(?:\*\*)?(?:은|이|을|과)(?= )", text)
    for unit, good in dict(점=1, 개=0, 초=0, 배=0, 분=1).items():  # final consonant or none
        for a, b in SIDES.items():
            found += re.findall(rf"\d{unit}{b if good else a}(?=[ .,])", text)
    found += [
        line
        for line in text.split("\n")
        if not line.startswith((">", "|")) and re.search(r"(?:\b[a-z]{2,}\b[ ,]+){4}", line)
    ]  # English in the middle
    return found


def judged(rng, models):
    def kinds(n):
        return {
            k: dict(
                count=rng.randint(0, n),
                references=None if k == "omission" else rng.randint(0, 2),
                examples=[dict(fname="dev_1", found=["#Ferson1#은"])],
            )
            for k in FAULTS
        }

    tried = {"plain": 30.1, "length_control + whole_sentences": rng.uniform(20, 50)}
    for m in models:
        mean = rng.uniform(5, 60)
        found = metrics("evaluate", mean) | dict(
            split=scored(
                mean,
                null=rng.choice([None, rng.uniform(5, 60)]),
                lead2=rng.uniform(5, 60),
                length_ratio=rng.uniform(0.1, 3),
                broken_tags=rng.choice([0, 0.3]),
            ),
            faults=dict(rows=16, faulty=rng.randint(0, 16), kinds=kinds(16)),
            shortened=rng.randint(0, 3),
            decoding=dict(
                num_beams=rng.choice([1, 4]),
                max_new_tokens=100,
                do_sample=rng.random() < 0.3,
                temperature=0.7,
                top_p=0.9,
                top_k=50,
            ),
            fitted=dict(length_control=rng.random() < 0.5, whole_sentences=rng.random() < 0.5, tried=tried),
        )
        yield m, found


def engines(rng):
    rows = [
        dict(
            engine=n,
            batch_size=b,
            dialogues=16,
            throughput=rng.uniform(1, 50),
            latency=rng.uniform(0.1, 9),
            peak=rng.uniform(0.5, 4),
            disk=rng.uniform(0.01, 1),
            identical=rng.random(),
            difference=[rng.uniform(-1, 1), -1.0, 1.0],
            stopped=rng.choice(["", "", "slower", "memory", "time"]),
        )
        for n in ("hf", "hf-bf16", "int8")
        for b in (1, 8, 32)
    ]
    return dict(
        engine="int8",
        batch_size=8,
        reason="",
        rows=rows,
        skipped=rng.choice([{}, dict(ctranslate2=dict(code="engine_does_not_fit", fields={}))]),
        seconds=rng.uniform(1, 60),
    )


def compared(rng, *names):
    return [
        dict(system=n, mean=rng.uniform(10, 50), low=9.0, high=51.0)
        | (
            dict(
                difference=rng.uniform(-5, 5),
                difference_low=-6.0,
                difference_high=6.0,
                p=0.01,
                p_holm=rng.choice([rng.random(), 0.02]),
            )
            if i
            else {}
        )
        for i, n in enumerate(names)
    ]


def answered(rng, models):
    "What the solar stage records of an API"
    lost = rng.sample(
        [
            "the answer holds no summary.",
            "solar-pro2 at api.upstage.ai did not answer (content_filter): ask something else, or in other words.",
        ],
        rng.randint(0, 2),
    )

    def difference():
        return rng.choice(
            [None, dict(n=50, difference=rng.uniform(-5, 5), low=-6.0, high=6.0, wins=rng.randint(0, 50))]
        )

    beside = {
        m: dict(
            mean=dict(f=rng.uniform(5, 60), **rng.choice([{}, dict(low=4.0, high=61.0)])),
            difference=difference(),
        )
        for m in models
        if rng.random() < 0.7
    }
    test = dict(
        rows=499,
        answered=rng.randint(490, 499),
        requests=rng.randint(499, 600),
        prompt_tokens=210000,
        completion_tokens=39000,
    )
    counts = dict(
        answered=50 - len(lost),
        valid=rng.randint(0, 48),
        asked_again=rng.randint(0, 9),
        requests=rng.randint(1, 5000),
        retries=rng.randint(0, 3),
        cached=rng.randint(0, 50),
        prompt_tokens=rng.randint(1, 10**6),
        completion_tokens=rng.randint(1, 10**5),
    )
    return dict(
        model="solar-pro2",
        strategy=rng.choice(["zero_shot", "few_shot", "cot", "self_consistency"]),
        rows=50,
        **counts,
        failed=[dict(row=i, reason=why) for i, why in enumerate(lost)],
        stand_in=rng.random() < 0.3,
        split=scored(rng.uniform(5, 60)),
        compared=beside,
        test=rng.choice([None, test]),
    )


def chosen(rng, models):
    "What the ensemble stage records of its choice"
    members = [
        *models,
        *(
            f"{m}/{how}"
            for m in models
            for how in rng.sample(["tta", "soup", "epoch2", "fold0"], rng.randint(0, 2))
        ),
        *rng.choice([[], ["api"]]),
    ]
    best, strategies = (
        rng.choice(members),
        rng.sample(["mbr", "weighted_avg", "stacking", "soup"], rng.randint(1, 4)),
    )
    weak = rng.sample(members, rng.randint(0, len(members) - 1))
    dropped = {
        m: dict(
            code="member_too_weak",
            fields=dict(member=m, score=12.3, best=best, best_score=40.1, chance=8.0, share=0.5),
        )
        for m in weak
        if m != best
    }
    measures = {
        k: dict(
            was_utility=k == "rouge",
            members=dict.fromkeys(members, 30.0),
            mean_single=rng.uniform(10, 50),
            oracle=rng.uniform(50, 70),
            systems=compared(rng, "best", *strategies),
        )
        for k in ("rouge", "chrf")
    }
    return dict(
        n=16,
        members=[m for m in members if m not in dropped],
        best=best,
        utility=rng.choice(["rouge", "chrf"]),
        swaps=10000,
        metrics=measures,
        strategy=rng.choice(["best", *strategies]),
        votes=dict.fromkeys(members, 1.0),
        dropped=dropped,
        split=scored(30.0),
        whole=scored(20.0, "whole"),
    )


NOTHING = dict(  # what an optional stage says that had nothing to do: of `leave`
    api=[
        dict(
            code="key_missing",
            fields=dict(host="api.upstage.ai", variables=["UPSTAGE_API_KEY", "SOLAR_API_KEY"]),
        )
    ],
    ensemble=[
        dict(code="one_member_left", fields=dict(member="kobart")),
        dict(code="members_agree", fields=dict(members=["kobart", "qwen3-4b"])),
        dict(code="nothing_evaluated"),
    ],
    epoch_candidates=[dict(code="no_other_epoch_kept", fields=dict(model="kobart"))],
)


FINDINGS = [
    Finding.warning("no_pad_token", "tokenizer_config.json"),
    Finding.of(DialsumError("fp16_asked_on_cpu"), "precision", "would_stop_stage"),
    Finding.error(
        "batch_too_large",
        "batch_size, method",
        batch=8,
        row="1,024 and 256 tokens",
        source=1024,
        needed="24.1 GiB",
        free="15.5 GiB",
        options="--method qlora --batch-size 2 --gradient-accumulation-steps 4",
    ),
    Finding.error(
        "rehearsal_stopped",
        "rehearsal, training (x.py, line 3)",
        type="RuntimeError",
        text="expected scalar type Half but found Float",
    ),
]


def imagined(rng, build):
    "A run folder with facts of all kinds, some of them of failures"
    models = rng.sample(list(CARDS), rng.randint(1, 6))
    values = {
        k: rng.choice([1, 0.25, True, "auto", ["a", "b"], ""])
        for k in rng.sample(sorted(OPTIONS), 12)
        if k not in ("models", "checkpoints")
    }
    run, leave = build(
        f"20261121_0128{next(NEW):02d}_imagined",
        models=models,
        **values | dict(scale=rng.choice(["full", "replica"])),
    )
    leave(
        "preflight",
        found=dict(
            models={
                m: dict(
                    ok=rng.random() < 0.5,
                    findings=[f.to_dict() for f in rng.sample(FINDINGS, rng.randint(0, 4))],
                )
                for m in models
            },
            seconds=rng.uniform(1, 9),
            rehearsed=rng.random() < 0.5,
        ),
    )
    leave("data")

    def bad():
        return rng.choice(["success"] * 5 + ["failed", "blocked"])

    def optional(stage, model="", **more):  # or it had nothing to do
        if rng.random() < 0.2:
            leave(stage, model, "blocked", kind="optional", **rng.choice(NOTHING[stage]))
        else:
            leave(stage, model, bad(), message="x", **more)

    for i, (m, found) in enumerate(judged(rng, models)):
        leave(
            "train",
            m,
            bad(),
            start=10 * i,
            seconds=rng.uniform(1, 9),
            message="RuntimeError: CUDA out of memory",
            found=metrics("train")
            | dict(
                tracking=rng.choice(
                    [
                        {},
                        dict(project="p", mode="offline", trouble=""),
                        dict(project="p", mode="online", trouble="CommError: no answer"),
                    ]
                )
            ),
        )
        leave("evaluate", m, bad(), start=10 * i + 2, found=found, message="x")
        if rng.random() < 0.5:
            leave("optimize", m, bad(), start=10 * i + 3, found=engines(rng), message="x")
        if rng.random() < 0.5:
            leave(
                "tta",
                m,
                bad(),
                found=dict(
                    plain=30.0,
                    gain=compared(rng, "plain", "tta")[1],
                    changed=3,
                    rows=16,
                    cost=rng.uniform(1, 6),
                    generations=40,
                ),
                message="x",
            )
        if rng.random() < 0.3:
            leave(
                "folds",
                m,
                found=dict(
                    split=scored(30.0),
                    folds=[dict(mean=rng.uniform(1, 50)) for _ in range(3)],
                    spread=dict(mean=30.0, std=2.0),
                    rows=64,
                ),
            )
        if rng.random() < 0.3:
            optional(
                "epoch_candidates",
                m,
                found=dict(systems=compared(rng, "best", "epoch2", "epoch10"), splits={}),
            )
        if rng.random() < 0.3:
            leave(
                "soup",
                m,
                found=dict(
                    systems=[*compared(rng, "x", "soup")[1:], *compared(rng, "fold0", "fold1")],
                    best_fold="fold0",
                    split=scored(30.0),
                ),
            )
        leave("predict", m, bad(), start=10 * i + 4, message="x")
    if rng.random() < 0.8:
        optional("api", start=90, found=answered(rng, models))
    if rng.random() < 0.8:
        optional("ensemble", start=95, found=chosen(rng, models))
    leave(
        "submit",
        start=99,
        found=dict(
            chosen=models[0],
            metric="mean",
            candidates=[
                dict(model=f"{m}{how}", score=rng.uniform(1, 50), predictions="p.csv")
                for m in models
                for how in ("", "/tta", "/soup")
            ],
        ),
    )
    return run


@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rng=st.randoms(use_true_random=False))
def test_no_reader_objects(build, rng):
    md = render(read_experiment(imagined(rng, build)))
    assert not objections(md), objections(md)
    headings = re.findall(r"^## (.*)$", md, re.M)
    sentences = [error_sentence(Coded.of(**error)) for errors in NOTHING.values() for error in errors]
    assert not [sentence for sentence in sentences if sentence in md]
    before = md.split("## 사전 점검")[1].split("\n## ")[0]
    assert not [
        f for f in FINDINGS[:3] if f.what in before or f.why in before or f.remedy in before
    ]  # ours: told in Korean
    assert set(headings) <= set(labels_of("section").values()) and all(
        f"](#{anchor(h)})" in md.split("\n## ")[0] for h in headings
    )


def test_the_reader_sees():
    for bad in (
        "KoBART은 좋다",
        "모델(은)는",
        "점수 None",
        "3개은 ",
        "값 {name}",
        "the model did not learn anything here",
        "KoBART이 좋다",
        "40점는 ",
    ):
        assert objections(bad), bad
    for good in (
        "KoBART는 좋다",
        "3개는 좋다",
        "40점은 좋다",
        "`the model did not learn anything`",
        "| the model was not told anything |",
    ):
        assert not objections(good), good


def test_every_option_has_a_korean_name():
    from dialsum.commands.options import plan_parameters

    assert not [
        n
        for n in [
            *plan_parameters(),
            "use_tta",
            "optimize_inference",
            "models",
            "mode",
            "scale",
            "workers",
            "rehearse",
            "checkpoints",
        ]
        if n not in OPTIONS
    ]


def test_the_anchors_are_github_s():
    assert [anchor(h) for h in ("부록: 모든 수치", "API 모델", "점수가 가장 낮은 대화")] == [
        "부록-모든-수치",
        "api-모델",
        "점수가-가장-낮은-대화",
    ]
