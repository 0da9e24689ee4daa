"""One experiment with everything that there is, asked for as the users of its predecessor did

`python -m pytest tests/test_full.py --every-model` takes all six models and five folds instead of two and two."""

import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest
from support.experiments import TYPED

from dialsum.api.stand_in_server import stand_in
from dialsum.data.dialogues import read
from dialsum.generation.search import MEASURED
from dialsum.models.cards import CARDS
from dialsum.pipeline.metrics import METRICS
from dialsum.pipeline.process import run_stage
from dialsum.pipeline.spec import StageSpec
from dialsum.report.cases import read_cases, read_systems
from dialsum.runs.error_facts import error_sentence
from dialsum.runs.facts import experiment_record, read_fact
from dialsum.runs.parameters import stage_parameters

pytestmark = pytest.mark.slow  # some twenty stages, a training for each fold
KEY = "sk-never-to-be-seen-0123456789"
WORDS = shlex.split(TYPED.replace("--epochs 20", "--epochs 1").replace("tensorrt", "auto"))


@pytest.fixture(scope="module")
def models(request):
    return (
        [c.name for c in CARDS.values() if c.group == "all"]
        if request.config.getoption("--every-model")
        else ["kobart", "solar-10.7b"]
    )


@pytest.fixture(scope="module")
def folds(models):
    return 5 if len(models) == 6 else 2


@pytest.fixture(scope="module")
def experiment(dialsum, models, folds, tmp_path_factory):
    "Its run folder, its report, and everything that was said"
    top, words = tmp_path_factory.mktemp("full"), list(WORDS)
    i = words.index("all")
    words[i : i + 1] = models
    words[words.index("--k_folds") + 1] = str(folds)
    with stand_in() as url:
        done = dialsum(
            "run",
            *words,
            "--scale",
            "replica",
            "--solar-samples",
            "6",
            "--max-new-tokens",
            "12",
            "--optimization-seconds",
            "20",
            "--no-rehearse",
            "--runs",
            top / "runs",
            "--reports",
            top / "reports",
            SOLAR_BASE_URL=url,
            SOLAR_API_KEY=KEY,
            WANDB_MODE="offline",
            DIALSUM_CACHE=str(top / "cache"),
            timeout=3000,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return (
        next((top / "runs").iterdir()),
        next((top / "reports").glob("*.md")).read_text(),
        done.stdout + done.stderr,
    )


def fact(run, *key):
    return read_fact(run.joinpath(*key[:-1]) / f"{key[-1]}.json", METRICS[key[-1]])


def test_every_option_has_arrived(experiment, models):
    run, _, _said = experiment
    asked, typed = (
        experiment_record(run).options,
        {w[2:].replace("-", "_") for w in WORDS if w.startswith("--")},
    )
    assert (
        run.name.endswith("_final_all_models_premium")
        and asked["models"] == models
        and asked["mode"] == "full"
    )
    stages = {
        p: fact(run, *s)
        for s in (
            ("data",),
            ("kobart", "train"),
            ("kobart", "predict"),
            ("kobart", "tta"),
            ("kobart", "optimize"),
            ("ensemble",),
            ("api",),
            ("report",),
        )
        for p in stage_parameters(s[-1])
    }
    for name in typed - {"mode", "models", "experiment_name", "use_tta", "optimize_inference"}:
        assert stages[name].params[name] == asked[name], name
    recipe = fact(run, "kobart", "train").metrics.recipe.to_dict()
    assert {
        n: recipe[n]
        for n in (
            "epochs",
            "batch_size",
            "learning_rate",
            "gradient_accumulation_steps",
            "warmup_ratio",
            "weight_decay",
            "max_grad_norm",
            "label_smoothing",
            "seed",
        )
    } == dict(
        epochs=1,
        batch_size=8,
        learning_rate=5e-6,
        gradient_accumulation_steps=4,
        warmup_ratio=0.1,
        weight_decay=0.01,
        max_grad_norm=1,
        label_smoothing=0.1,
        seed=42,
    )


def test_the_data_is_judged_grown_and_dealt(experiment, folds):
    run, report, _ = experiment
    m = fact(run, "data").metrics
    made = {name: count.made for name, count in m.augmentation.methods.items()}
    assert (
        set(made) == {"back_translation", "paraphrase", "synonym", "turn_shuffle"}
        and all(made.values())
        and m.augmentation.asked == 32
        and m.augmentation.backend.requests > 10
    )
    assert (
        m.quality.parts["train"].rows == 64
        and m.folds.to_dict() == dict(k=folds, seed=42, rows=m.folds.rows)
        and sum(m.folds.rows) == 64
    )
    assert (
        f"{folds}개 폴드로 나누었습니다(시드 42)" in report
        and f"학습 대화 64개로 새 대화 {sum(made.values())}개를 만들어" in report
    )


def test_prediction_decodes_as_asked_with_the_engine_that_was_picked(experiment, models):
    run, _report, _ = experiment
    for model in models:
        best, m = fact(run, model, "optimize").metrics, fact(run, model, "predict").metrics
        measured = {r.engine for r in best.rows}
        assert (
            "hf" in measured
            and measured | set(best.skipped) == set(MEASURED) - {"continuous"}
            and not measured & set(best.skipped)
            and "ctranslate2" in best.skipped
        )
        assert (m.engine, m.batch_size) == (best.engine, best.batch_size)
        d = m.decoding.to_dict()
        assert {
            n: d[n]
            for n in (
                "num_beams",
                "temperature",
                "top_p",
                "top_k",
                "length_penalty",
                "repetition_penalty",
                "no_repeat_ngram_size",
                "do_sample",
            )
        } == dict(
            num_beams=8,
            temperature=0.7,
            top_p=0.9,
            top_k=50,
            length_penalty=1.0,
            repetition_penalty=1.2,
            no_repeat_ngram_size=3,
            do_sample=True,
        )
    assert len(pd.read_csv(run / "submission.csv")) == 16


def test_curves_are_in_weights_and_biases(experiment, models):
    run, _, _ = experiment
    for model in models:
        assert fact(run, model, "train").metrics.tracking.to_dict() == dict(
            mode="offline", project="final-submission", trouble=""
        )
        assert [p.stat().st_size > 1000 for p in (run / model / "wandb").rglob("*.wandb")] == [True]


def test_figures_are_kept_and_kept_again_by_a_report_alone(experiment, typed, tmp_path):
    run = experiment[0]
    kept = {p.name for p in (run / "figures").iterdir()}
    assert {"loss.png", "loss.svg", "quality.png", "quality.svg"} <= kept
    shutil.rmtree(run / "figures")
    assert (
        typed("report", run, "--reports", tmp_path).returncode == 0
        and {p.name for p in (run / "figures").iterdir()} == kept
    )


@pytest.fixture
def folded(experiment):
    return experiment[0]


def test_each_training_row_has_exactly_one_prediction_by_a_model_that_has_not_seen_it(folded, folds):
    rows, fold = (
        read(folded / "data" / "train.csv", summaries=True, provenance=True),
        pd.read_csv(folded / "data" / "folds.csv", index_col="fname")["fold"],
    )
    own = rows[rows["origin"] == ""]
    found = pd.read_csv(folded / "kobart" / "predictions_out_of_fold.csv", keep_default_na=False)
    assert (
        len(own) == 64
        and len(rows) > 80
        and list(found["fname"]) == list(own["fname"])
        and found["fname"].is_unique
    )
    assert (found["fold"] == found["fname"].map(fold)).all() and (
        rows["fname"].map(fold) == rows.apply(lambda r: fold[r.origin or r.fname], axis=1)
    ).all()
    for k in range(folds):
        trained, measured = (
            read_fact(folded / "kobart" / f"fold{k}" / f"{stage}.json") for stage in ("train", "evaluate")
        )
        assert (
            trained.fold == k
            and trained.metrics.rows == (fold != k).sum()
            and measured.metrics.rows == (found["fold"] == k).sum()
        )


def test_the_folds_facts_agree_with_their_evaluations(folded, folds):
    measured = fact(folded, "kobart", "folds").metrics
    means = [
        read_fact(folded / "kobart" / f"fold{k}" / "evaluate.json").metrics.split["mean"]["f"]
        for k in range(folds)
    ]
    assert (
        [f.mean for f in measured.folds] == pytest.approx(means)
        and measured.spread.mean == pytest.approx(sum(means) / folds)
        and measured.rows == 64
    )
    assert measured.spread.std == pytest.approx(pd.Series(means).std())
    assert min(means) <= measured.score().f <= max(means)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: p.write_text("\n".join(p.read_text().split("\n")[1:])), "fname"),
        (
            lambda p: p.write_text(p.read_text().replace("fname,summary", "fname,summary\ntrain_x,글")),
            "train_x",
        ),
    ],
    ids=["a header lost", "a row too many"],
)
def test_predictions_that_do_not_fit_the_folds_are_refused(folded, tmp_path, damage, words):
    run = Path(shutil.copytree(folded, tmp_path / "copy"))
    damage(run / "kobart" / "fold1" / "predictions_held_out.csv")
    again = run_stage(StageSpec(run, "folds", "kobart"))
    assert again.status == "failed" and again.error.kind == "user" and words in error_sentence(again.error), (
        again.error
    )


def test_folds_are_told_in_the_report(experiment, folds):
    assert (
        f"| 모델 | 전체 | 무작위 기준과의 차이 | 폴드 평균 | {' | '.join(f'폴드 {k}' for k in range(folds))} |"
        in experiment[1]
    )


def test_the_api_is_asked_about_some_rows_and_compared_on_those(experiment, models):
    run, report, _ = experiment
    solar = fact(run, "api")
    m = solar.metrics
    assert (
        solar.status == "success"
        and m.rows == m.answered == 6
        and m.model == "solar-1-chat"
        and m.strategy == "self_consistency"
        and not m.stand_in
        and 30 <= m.requests <= 36
    )
    assert set(m.compared) == set(models) and all(c.difference.n == 6 for c in m.compared.values())
    for c in m.compared.values():
        assert c.difference.difference == pytest.approx(m.score().f - c.mean.f, abs=1e-3)
    assert (
        len(pd.read_csv(run / "predictions_api_dev.csv")) == 6
        and "검증 대화 6개를 `self_consistency` 프롬프트로 물었습니다" in report
    )


def test_the_key_is_nowhere(experiment):
    run, _, said = experiment
    assert KEY not in said
    for path in [*run.parents[1].rglob("*")]:
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def test_the_ensemble_chooses_among_the_models_or_says_why_not(experiment, models):
    run, report, _ = experiment
    ended, submitted = fact(run, "ensemble"), fact(run, "submit").metrics
    if ended.status == "blocked":
        assert (
            ended.error.kind == "optional"
            and "is left" in error_sentence(ended.error)
            and submitted.chosen != "ensemble"
            and "앙상블은 하지 않았습니다" in report
        )
        return
    chosen = pd.read_csv(run / "predictions_ensemble_dev.csv", keep_default_na=False)
    members = {
        m: pd.read_csv(run / m / "predictions_dev.csv", keep_default_na=False) for m in ended.metrics.members
    }
    assert (
        all(r.summary == members[r.member]["summary"][r.Index] for r in chosen.itertuples())
        and ended.metrics.strategy == "stacking"
    )
    assert {c.model for c in submitted.candidates} == {
        *models,
        *(f"{m}/tta" for m in models),
        "ensemble",
    } and "| 전략 |" in report


def test_each_model_is_asked_in_several_forms(experiment, models):
    run, report, _ = experiment
    for model in models:
        m = fact(run, model, "tta").metrics
        told = pd.read_csv(run / model / "predictions_tta_test.csv", keep_default_na=False)
        assert (
            len(told) == 16
            and set(told["view"]) <= {"", "paraphrase", "reorder", "synonym", "mask"}
            and 1 < m.cost <= 6
            and m.generations == round(m.cost * m.rows)
            and m.gain.difference == pytest.approx(m.gain.mean - m.plain)
        )
    assert {f"{m}/tta" for m in models} <= {
        c.model for c in fact(run, "submit").metrics.candidates
    } and "| 모델 | TTA 없이 | TTA |" in report


def test_what_each_system_wrote_can_be_read_beside_the_others(experiment):
    found, cases = read_systems(experiment[0]), read_cases(experiment[0])
    assert {name.partition("/")[2] for name in found} >= {"", "tta"} and {
        s.name for s in found.values()
    } == set(cases[0].predictions)
    for name, s in found.items():
        told = pytest.approx(s.fact.metrics.score().f, abs=1e-4)
        assert s.scores[:, 3].mean() == told and sum(c.scores[name][3] for c in cases) / len(cases) == told
