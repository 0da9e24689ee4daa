"Experiments made of plans: every stage left the fact that the plan's order and some failures let it leave"

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from support.experiments import SIX, fact_of

from dialsum.pipeline.plan import plan_stages
from dialsum.report.experiment import Experiment
from dialsum.runs.error_facts import make_error
from dialsum.runs.records import ErrorRecord, ExperimentRecord

BEGIN = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)
SECONDS = dict(
    preflight=4.1,
    data=0.02,
    train=14.3,
    evaluate=2.2,
    optimize=7.0,
    predict=1.1,
    tta=5.5,
    epoch_candidates=3.0,
    folds=0.0,
    soup=4.0,
    api=12.0,
    ensemble=3.0,
    submit=0.01,
)
EVERYTHING = dict(
    k_folds=2,
    keep_checkpoints=2,
    use_solar_api=True,
    ensemble_strategy="mbr",
    ensemble_members="models tta checkpoints folds soup api",
)


def planned(
    models: list[str],
    failures: dict[str, ErrorRecord] | None = None,  # a stage's key → its error
    seconds: dict[str, float] | None = None,  # stage → how long it took
    attempts: Iterable[float] = (),  # seconds after the begin at which it went on
    options: dict | None = None,
    **more,
) -> Experiment:
    "One worker runs a plan: what needs a stage that did not succeed is blocked"
    seconds, failures = SECONDS | (seconds or {}), failures or {}
    facts, statuses, start = [], {}, BEGIN
    for spec in plan_stages(Path("run"), models, options or {}, **more):
        if spec.stage == "report":
            continue
        missing = [key for key in spec.needs if statuses[key] != "success"]
        error, took, status = failures.get(spec.key), seconds[spec.stage], "success"
        if missing:
            status, took = "blocked", 0.0
            error = make_error("blocked", "Blocked", "stage_blocked", dict(stage=spec.key, missing=missing))
        elif error:
            status = "failed"
        statuses[spec.key] = status
        end = start + timedelta(seconds=took)
        facts.append(
            fact_of(
                spec.stage,
                model=spec.model or None,
                fold=spec.fold,
                status=status,
                started=start.isoformat(),
                finished=end.isoformat(),
                seconds=took,
                error=error.to_dict() if error else None,
            )
        )
        start = end + timedelta(seconds=0.4 if took else 0)
    times = [dict(time=(BEGIN + timedelta(seconds=s)).isoformat()) for s in attempts]
    record = ExperimentRecord.model_validate(dict(options=dict(models=models), attempts=times))
    return Experiment("20261121_010000_plan", record, facts)


def out_of_memory() -> ErrorRecord:
    "A failure that is known, in a library"
    error = make_error(
        "exception", "OutOfMemoryError", text="CUDA out of memory. Tried to allocate 2.00 GiB."
    )
    frames = [
        "dialsum/training/loop.py:120 in train_model",
        "transformers/trainer.py:3733 in training_step",
        "torch/nn/modules/linear.py:125 in forward",
    ]
    return error.model_copy(update=dict(cause="GPU 메모리가 모자랍니다. 배치가 큽니다.", frames=frames))


def no_folder(model: str = "qwen3-4b") -> ErrorRecord:
    "An error of ours"
    fields = dict(model=model, folder="./nowhere", example="Qwen/Qwen3-4B")
    error = make_error("user", "DialsumError", "checkpoint_folder_missing", fields)
    return error.model_copy(update=dict(frames=["dialsum/models/reading.py:40 in checkpoint_folder"]))


def two_broken() -> Experiment:
    failures = {"solar-10.7b/train": out_of_memory(), "qwen3-4b/train": no_folder()}
    return planned(SIX, failures, options=dict(k_folds=2, ensemble_strategy="mbr"), tta=True, optimize=True)


def five_folds() -> Experiment:
    options = dict(k_folds=5, ensemble_strategy="mbr", ensemble_members="models tta folds")
    return planned(SIX, options=options, tta=True)


def some_plan(seed: int) -> Experiment:
    "Some models, options, failures and times; the same ones for the same seed"
    draw = Random(seed)
    models = draw.sample(SIX, draw.randint(1, 6))
    options = EVERYTHING | dict(k_folds=draw.randint(2, 5)) if draw.random() < 0.5 else {}
    keys = [f"{model}/{stage}" for model in models for stage in ("train", "evaluate", "predict", "tta")]
    failures = {key: out_of_memory() for key in draw.sample([*keys, "data"], draw.randint(0, 3))}
    seconds = {stage: draw.choice([0.0, 0.02, 3.0, 40.0, 900.0]) for stage in SECONDS}
    attempts = [draw.uniform(0, 60) for _ in range(draw.randint(0, 3))]
    return planned(
        models, failures, seconds, attempts, options, tta=bool(options), optimize=draw.random() < 0.5
    )


CASES = dict(
    demo=lambda: planned(SIX),
    folds=five_folds,
    broken=two_broken,
    single=lambda: planned(["kobart"]),
)
