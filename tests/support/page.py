"""What the tests of the page share, and what looks at a report in a browser:

    PYTHONPATH=tests python -m support.page reports/*.html --folder screenshots

takes screenshots at all widths, in light and dark, prints to PDF, and says what is wrong"""

import argparse
import json
import re
import shutil
import sys
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pytest
from support.experiments import at, builder, case, scored, whole

from dialsum.report.document import render, write_report
from dialsum.report.experiment import read_experiment
from dialsum.report.figures import FIGURES, figure_files
from dialsum.report.html import page, sheet, write_page
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


FIRST_SCREEN = """# 실험 보고서: 20261121_012847_premium

[결과](#결과) · [실패](#실패) · [모델](#모델)

**⚠️ 모델 6개 가운데 4개가 끝까지 실행되었습니다. 전체 92개 단계 가운데 78개가 성공했고, 11분 45초가 걸렸습니다.**

| 우선순위 | 무엇이 | 왜 | 할 일 |
| --- | --- | --- | --- |
| P0 | Polyglot-Ko-12.8B 학습이 폴드 5개에서 모두 실패했습니다. | GPU 메모리가 1.25 GiB 모자랐습니다. | `dialsum resume 20261121_012847_premium --runs /data/runs --batch-size 4 --gradient-checkpointing --max-source 1024` |
| P1 | KULLM-v2 폴드 3의 학습이 실패했습니다. | GPU 메모리가 모자랐습니다. | `dialsum resume 20261121_012847_premium --runs /data/runs --batch-size 4` |
| P2 | 요약 16개 가운데 13개에 빠뜨린 내용이 있습니다. | 요약이 참조의 0.61배 길이입니다. | `--max-new-tokens 140` |
| P3 | 그림을 따로 남기지 않았습니다. | `--save-visualizations`를 주지 않았습니다. | `dialsum report 20261121_012847_premium` |

제출 파일에는 앙상블(`stacking`)의 요약이 들어 있습니다. 검증 점수는 43.10 [41.20, 45.02]이고, 무작위 기준과 앞 두 발화 기준을 모두 분명히 넘으며, 가장 좋은 단일 모델보다 1.10점 높지만 오차 범위 안입니다.

| 모델 | 상태 | 평균 [95 %] | 무작위 대비 | 앞 두 발화 대비 | 태그 통째 순위 | 가장 큰 문제 | 시간 |
| --- | --- | ---: | ---: | ---: | ---: | --- | ---: |
| KoBART | 성공 | 42.00 [40.10, 43.95] | +26.00 [24.10, 27.88] | +20.00 [18.20, 21.75] | 1 | 빠뜨린 내용(81.2%) | 4분 12초 |
| Llama-3.2-Korean-3B | 성공 | 39.00 [37.02, 41.11] | +23.00 [21.04, 25.06] | +17.00 [15.01, 18.97] | 2 | 길이 | 11분 3초 |
| Polyglot-Ko-12.8B | 실패(학습) | – | – | – | – | GPU 메모리 부족 | 6초 |
| KULLM-v2 | 미실행(평가) | – | – | – | – | 앞 단계가 성공하지 못함 | – |
| SOLAR-10.7B | 기록 없음 | – | – | – | – | – | – |

![모델별 ROUGE 평균과 95% 신뢰 구간](premium/scores.png)

## 결과

- **점수:** 검증 대화 16개에서 KoBART의 ROUGE 평균은 42.00(95% 신뢰 구간 40.10~43.95)입니다.

## 실패

### P0 · GPU 메모리 부족 (폴드 5개)

```bash
dialsum resume 20261121_012847_premium --runs /data/runs --batch-size 4 --gradient-checkpointing --max-source 1024
```

<details>
<summary>프로그램이 남긴 메시지(원문)</summary>

```text
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.25 GiB. GPU 0 has a total capacity of 23.99 GiB
  File "/site-packages/torch/nn/modules/linear.py", line 134, in forward
```

</details>

## 모델

| 구분 | 대화 수 | 대화 길이(평균 / 최대) |
| --- | ---: | ---: |
| 학습 | 12,457 | 406.1 / 2,165 |
| 검증 | 499 | 400.0 / 1,270 |
"""  # what a first screen holds: a state, actions, a submission, models


@pytest.fixture(scope="module")
def first_screen(tmp_path_factory):
    "A page with such a first screen, its figure and all"
    e = read_experiment(whole(builder(tmp_path_factory.mktemp("screen")))[0])
    return sheet(FIRST_SCREEN, {}, {"premium/scores.png": figure_files(FIGURES["scores.png"], e)})


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

WIDTHS = (1400, 800, 390)  # a desk, a tablet, a phone
SCHEMES = ("light", "dark")
PAPER = 688  # pixels of A4 between its margins
FIGURE_TEXT = 10 * 96 / 72  # pixels of a figure's letters, which have ten points
CHECKS = Path(__file__).with_suffix(".js")


def chromium_program():  # None where there is none
    programs = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    return next(filter(None, programs), None)


@contextmanager
def opened_browser():
    "A browser, while it is needed"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium_program(), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def chromium():
    "A browser; skips where there is none"
    pytest.importorskip("playwright.sync_api", reason="needs the dev extra: pip install playwright")
    if not chromium_program():
        pytest.skip("needs chromium: apt-get install chromium fonts-nanum")
    with opened_browser() as browser:
        yield browser


@contextmanager
def shown(browser, report, width, scheme="light"):
    "A tab that shows a page: a file's path, or HTML; or nothing yet"
    context = browser.new_context(viewport=dict(width=width, height=844), color_scheme=scheme)
    tab = context.new_page()
    if isinstance(report, Path):
        tab.goto(report.absolute().as_uri())
    elif report:
        tab.set_content(report)
    yield tab
    context.close()


def faults(tab):
    "What is wrong with what a tab shows, in sentences; opens its folded parts"
    return tab.evaluate(CHECKS.read_text(encoding="utf-8"), FIGURE_TEXT)


def printed(browser, report, path=None):
    "How many sheets of A4 a page takes, and what is wider than a sheet; kept as PDF where a path is given"
    with shown(browser, report, WIDTHS[0]) as tab:
        pdf = tab.pdf(prefer_css_page_size=True, path=path)
        tab.set_viewport_size(dict(width=PAPER, height=972))
        tab.emulate_media(media="print")
        wide = tab.evaluate(
            "w => [...document.body.querySelectorAll('*')].filter(e => e.checkVisibility() && "
            "e.getBoundingClientRect().right > w + 6).map(e => e.tagName + ': ' + e.textContent.slice(0, 40))",
            PAPER,
        )
    return len(re.findall(rb"/Type /Page\b", pdf)), wide


def looked_at(browser, pages, folder, widths=WIDTHS, schemes=SCHEMES):
    "Screenshots and PDF of each page, in a folder; what is wrong, by page, width and scheme"
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for path, width, scheme in product(pages, widths, schemes):
        with shown(browser, path, width, scheme) as tab:
            name = f"{path.stem}-{width}-{scheme}"
            tab.screenshot(path=folder / f"{name}.png", full_page=True, timeout=300_000)
            found[name] = faults(tab)
    for path in pages:
        sheets, wide = printed(browser, path, folder / f"{path.stem}.pdf")
        found[f"{path.stem}, {sheets} sheets"] = wide
    return found


def main():
    reading = argparse.ArgumentParser(description="look at reports in a browser")
    reading.add_argument("pages", nargs="+", type=Path, help="HTML reports")
    reading.add_argument("--folder", type=Path, default=Path("screenshots"), help="gets the pictures")
    given = reading.parse_args()
    with opened_browser() as browser:
        found = looked_at(browser, given.pages, given.folder)
    for name, wrong in found.items():
        print(name, *wrong, sep="\n    ")
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
