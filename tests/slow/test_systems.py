"Beyond one model: what an ensemble and an API do with what they are given, and what is refused"

import shutil
from pathlib import Path

import pandas as pd
import pytest

from dialsum.api.stand_in_server import stand_in
from dialsum.data.dialogues import read
from dialsum.pipeline.examples import worn
from dialsum.pipeline.metrics import METRICS
from dialsum.pipeline.process import run_stage
from dialsum.pipeline.spec import StageSpec
from dialsum.runs.facts import read_fact
from dialsum.runs.places import sample_path


@pytest.fixture(scope="module")
def one_model(dialsum, tmp_path_factory):
    "A single model, and everything that can be a member of its ensemble"
    top = tmp_path_factory.mktemp("one")
    with stand_in() as url:
        done = dialsum(
            "run",
            "--models",
            "kobart",
            "--scale",
            "replica",
            "--debug",
            "--epochs",
            "2",
            "--max-new-tokens",
            "12",
            "--no-rehearse",
            "--k-folds",
            "2",
            "--use-tta",
            "--tta-strategies",
            "window",
            "--use-solar-api",
            "--solar-samples",
            "0",
            "--solar-test",
            "--ensemble-strategy",
            "mbr",
            "--ensemble-members",
            "models",
            "tta",
            "checkpoints",
            "folds",
            "soup",
            "api",
            "--keep-checkpoints",
            "1",
            "--runs",
            top / "runs",
            "--reports",
            top / "reports",
            SOLAR_BASE_URL=url,
            DIALSUM_CACHE=str(top / "cache"),
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return next((top / "runs").iterdir()), next((top / "reports").glob("*.md")).read_text()


def wear(run):
    "Let every system of a run have written worn references, each other ones: whether one is weak depends on no toy"
    references = {
        "dev": read(run / "data" / "dev.csv", summaries=True),
        "test": read(sample_path() / "test_references.csv", summaries=True),
    }
    texts = {part: dict(zip(rows["fname"], rows["summaries"].str[0])) for part, rows in references.items()}
    for shift, path in enumerate(sorted(run.glob("**/predictions_*.csv"))):
        part = "test" if path.stem.endswith("test") else "dev"
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
        if not set(rows["fname"]) <= set(texts[part]):
            continue  # of rows that a fold has held out
        rows["summary"] = [worn(texts[part][f], 0.3, shift) for f in rows["fname"]]
        rows.to_csv(path, index=False)


@pytest.mark.slow
def test_an_ensemble_works_from_one_model_up(one_model, tmp_path):
    first = one_model[0]
    ended = read_fact(first / "ensemble.json")
    assert ended.status == "success" or ended.error.kind == "optional", ended.error  # of toys one may be left
    run = Path(shutil.copytree(first, tmp_path / first.name))
    asked, everyone = (
        ended.params,
        {
            "kobart",
            "kobart/tta",
            "kobart/fold0",
            "kobart/fold1",
            "kobart/soup",
            "api",
            "kobart/" + read_fact(run / "kobart" / "train.json").metrics.kept[0],
        },
    )
    wear(run)
    fact = run_stage(
        StageSpec(run, "ensemble", "", {name: value for name, value in asked.items() if name != "run"})
    )
    m = fact.metrics
    assert fact.status == "success", fact.error
    assert set(m.members) | set(m.dropped) == everyone and "api" in m.members and m.n == 10
    taken = pd.read_csv(run / "predictions_ensemble_test.csv", keep_default_na=False)
    assert len(taken) == 10 and set(taken["member"]) <= set(m.members)
    submitted = run_stage(StageSpec(run, "submit", "", dict(more="tta,soup,ensemble")))
    assert {c.model for c in submitted.metrics.candidates} == {
        "kobart",
        "kobart/tta",
        "kobart/soup",
        "ensemble",
    }


@pytest.mark.slow
def test_another_epoch_is_a_model_of_its_own(one_model):
    run, report = one_model
    trained, m = (
        read_fact(run / "kobart" / f"{stage}.json", METRICS[stage]).metrics
        for stage in ("train", "epoch_candidates")
    )
    other = 3 - round(trained.best.epoch)
    assert (
        trained.kept == [f"epoch{other}"] == list(m.splits)
        and (run / "kobart" / "epochs" / f"epoch{other}" / "model.safetensors").read_bytes()
        != (run / "kobart" / "model" / "model.safetensors").read_bytes()
    )
    assert [s.system for s in m.systems] == ["best", f"epoch{other}"]
    assert m.systems[0].mean == pytest.approx(
        read_fact(run / "kobart" / "evaluate.json").metrics.split["mean"]["f"]
    )
    assert f"KoBART 에폭 {other} |" in report and not (run / "kobart" / "fold0" / "epochs").exists()
    assert len(pd.read_csv(run / "kobart" / f"predictions_epoch{other}_test.csv")) == 10


@pytest.mark.slow
def test_the_average_of_the_folds_is_a_model_of_its_own(one_model):
    from safetensors.numpy import load_file

    run, report = one_model
    parts = [load_file(run / "kobart" / f"fold{k}" / "model" / "model.safetensors") for k in range(2)]
    mixed = load_file(run / "kobart" / "soup" / "model.safetensors")
    assert set(mixed) == set(parts[0]) and all(
        abs(mixed[n] - (parts[0][n] + parts[1][n]) / 2).max() < 1e-6 for n in mixed
    )
    m = read_fact(run / "kobart" / "soup.json", METRICS["soup"]).metrics
    assert m.folds == 2 and [s.system for s in m.systems] == ["soup", "fold0", "fold1"] and m.rows == 10
    assert "KoBART 가중치 평균" in report
