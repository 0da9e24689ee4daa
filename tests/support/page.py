"What the tests of page share"

import json
import shutil

import pytest
from support.experiments import at, case, scored, whole

from dialsum.report.document import render, write_report
from dialsum.report.experiment import read_experiment
from dialsum.report.html import page, write_page
from dialsum.runs.files import to_json

NAMES = [
    '"; DROP TABLE models; --',
    "<script>alert(1)<script>",
    "end",
    "한글 모델: v2",
    "x" * 200,
    '😀👩‍👩‍👧 "][1]:::failed',
    "</title><svg onload=alert(1)>".replace("/", ""),
    "'onmouseover='alert(1)",
]


def write(run, tmp_path):
    "Both forms of a report: (Markdown, HTML)"
    written = write_report(run, tmp_path / "reports")
    return written[0].read_text(encoding="utf-8"), write_page(run, written).read_text(encoding="utf-8")


def both(run):  # without drawing figures
    e = read_experiment(run)
    return render(e), page(e, {})


def named(build, name):
    "An experiment whose model, folder and speaker have that name, and whose training and evaluation did not end alike"
    run, leave = build(name=name, models=[name, "kobart"], command=f"dialsum run --models {name}")
    leave("data")
    leave("train", name, "failed", message=f"{name}: {name}")
    leave("evaluate", name, "blocked", message=name, kind="blocked")
    leave("train", "kobart", start=9)
    leave(
        "evaluate",
        "kobart",
        found=dict(
            split=scored(40.0),
            whole=scored(20.0),
            worst=[case(name) | dict(fname=name, dialogue=f"{name}: 안녕하세요\n#{name}#: 네")],
        ),
    )
    return run


def crowded(build, models, name="model"):
    "So many models, each trained and evaluated as a whole and in five folds; one fold of one failed"
    run, leave = build(
        name=f"20261121_012847_crowd{len(name)}", models=[f"{name} {m}" for m in range(models)], k_folds=5
    )
    leave("data")
    for m in range(models):
        for k in (None, *range(5)):
            bad = (m, k) == (3, 2)
            leave(
                "train",
                f"{name} {m}",
                "failed" if bad else "success",
                30 * m + 10 * (k or 0),
                5,
                fold=k,
                message="CUDA out of memory",
            )
            leave(
                "evaluate",
                f"{name} {m}",
                "blocked" if bad else "success",
                30 * m + 10 * (k or 0) + 5,
                5,
                fold=k,
                message="blocked",
                kind="blocked",
            )
        leave("predict", f"{name} {m}", start=30 * m + 55)
    leave("submit", start=30 * models + 50)
    return run


@pytest.fixture
def crowd(build):
    return crowded(build, 30)


@pytest.fixture
def resumed(build):
    "An experiment that was resumed three times, the first time before any stage of today"
    run, _leave = whole(build, name="20261121_012847_resumed")
    path = run / "experiment.json"
    path.write_text(
        to_json(
            json.loads(path.read_text())
            | dict(
                attempts=[
                    dict(
                        time=time,
                        command="",
                        changed={},
                        left={"kobart/train": dict(code="failed_before", fields={})},
                    )
                    for time in ("2026-11-20T01:00:00.000+00:00", at(7), at(33))
                ]
            )
        )
    )
    return run


# browsers


@pytest.fixture(scope="module")
def chromium():
    "A browser; skips where there is none"
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs the dev extra: pip install playwright"
    )
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        pytest.skip("needs chromium: apt-get install chromium fonts-nanum")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
