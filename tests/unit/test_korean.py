"""The Korean of reports and messages, by the checker that `support.korean` is, and that it finds what is wrong"""

import re
import tomllib

import pytest
from support.experiments import metrics, scored, six_models_five_folds, two_of_four_broken, whole
from support.korean import flaws_of_document, flaws_of_report, flaws_of_text
from support.places import ROOT

from dialsum.data.quality import DEFECTS
from dialsum.report.document import render
from dialsum.report.experiment import Experiment, read_experiment
from dialsum.report.sections.appendix import section_appendix
from dialsum.report.sections.request import (
    section_data,
    section_environment,
    section_preflight,
    section_request,
    section_rerun,
)
from dialsum.report.sections.timeline import section_timeline
from dialsum.scores.summary_errors import FAULTS

TEXTS = ROOT / "nbs" / "text"
CHECKED = {  # sections whose every sentence is held to the checker
    "request": section_request,
    "preflight": section_preflight,
    "data": section_data,
    "timeline": section_timeline,
    "environment": section_environment,
    "rerun": section_rerun,
    "appendix": section_appendix,
}


# it finds what is wrong


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [
        ("particle", "KoBART이 가장 높습니다.", "KoBART가 가장 높습니다."),
        ("particle", "입력 `a.csv`이 바뀌었습니다.", "입력 `a.csv`가 바뀌었습니다."),
        ("particle", "입력 `a.json`가 바뀌었습니다.", "입력 `a.json`이 바뀌었습니다."),
        ("particle", "점수는 16.41으로 올랐습니다.", "점수는 16.41로 올랐습니다."),
        ("particle", "<b>합의(MBR)</b>을 골랐습니다.", "<b>합의(MBR)</b>를 골랐습니다."),
        ("particle", "무작위 기준(16.00)를 넘습니다.", "무작위 기준(16.00)을 넘습니다."),
        (
            "particle",
            "느린 이유(디스크, 네트워크)을 찾으십시오.",
            "느린 이유(디스크, 네트워크)를 찾으십시오.",
        ),
        ("particle", "목록(`[text]`)를 넘기십시오.", "목록(`[text]`)을 넘기십시오."),
        ("particle", "모델는 학습했습니다.", "모델은 학습했습니다."),
        ("particle", "문자 인코딩가 다릅니다.", "문자 인코딩이 다릅니다."),
        ("particle", "버전를 맞춥니다.", "버전을 맞춥니다."),
        ("particle", "요약와 비교합니다.", "요약과 비교합니다."),
        ("particle", "폴드으로 나누었습니다.", "폴드로 나누었습니다."),
        ("particle", "실험로 나누었습니다.", "실험으로 나누었습니다."),
        ("particle", "`kobart`은(는) 없습니다.", "`kobart`는 없습니다."),
        ("mark", "**합의(MBR)**를 골랐습니다.", "**KoBART**를 골랐습니다."),
        ("placeholder", "`dialsum resume {name}`을 실행하십시오.", "`dialsum resume demo`를 실행하십시오."),
        ("placeholder", "점수는 {score}점입니다.", "점수는 3점입니다."),
        ("placeholder", "점수는 None점입니다.", "점수는 3점입니다."),
        ("placeholder", "손실은 nan 그대로입니다.", "손실은 `nan` 그대로입니다."),
        ("placeholder", "–은 골랐습니다.", "KoBART는 골랐습니다."),
        ("placeholder", "걸린 시간은 –입니다.", "걸린 시간은 3초입니다."),
        ("placeholder", "차이는 0.1점()입니다.", "차이는 0.1점(0.2)입니다."),
        ("term", "두 점수를 견줄 수 없습니다.", "두 점수를 비교할 수 없습니다."),
        ("term", "실패한 까닭입니다.", "실패한 이유입니다."),
        ("term", "한 대화를 여러 꼴로 물었습니다.", "글꼴을 설치하십시오."),
        ("term", "기울기 노름의 위끝입니다.", "그래디언트 노름의 상한입니다."),
        ("english", "오류: the file is not there 입니다.", "오류: `the file is not there` 입니다."),
        ("english", "the rate falls too fast 때문입니다", "SOLAR TTA, KULLM TTA, KoBART TTA의 점수"),
        ("english", "Learning rate and batch size 설정", "ROUGE-1, ROUGE-2, ROUGE-L 점수"),
        ("plain ending", "요약에 글자가 없다.", "요약에 글자가 없습니다."),
        ("plain ending", "다시 실행해 보세요.", "다시 실행하십시오."),
        ("blank", "두  칸입니다.", "두 칸입니다."),
        ("blank", "끝났습니다..", "끝났습니다…"),
        ("blank", "단계 수(2),예행 연습", "단계 수(2), 예행 연습"),
        ("blank", "폴드 32개,31개", "폴드 1,032개, 31개"),
        ("blank", "골랐습니다 .", "골랐습니다."),
        ("bracket", "KoBART(폴드 1의 점수", "KoBART(폴드 1)의 점수"),
        ("bracket", "[1.0, 2.0)입니다", "[1.0, 2.0]입니다"),
    ],
)
def test_a_fault_is_found(kind, wrong, right):
    assert {flaw.kind for flaw in flaws_of_text(wrong)} == {kind}
    assert flaws_of_text(right) == []


def test_code_and_what_others_wrote_is_no_text_of_ours():
    document = """# 보고서

```text
None은 the error of the file
```

> **#Person1#** 이건 한다.. 견주면은 {x}

**참조 요약** 견주다.

| 실험 | 요약 |
| --- | --- |
| a | 이것이 견준다 |
"""
    assert flaws_of_document(document) == []
    assert flaws_of_document(document.replace("| 요약 |", "| 설명 |"))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (("| 42.50 ", "| 43.50 "), "no score of the facts"),
        (("42.50(", "41.23("), "no number of the facts"),
        (("전체 2", "전체 9"), "there are"),
        (("모델 1/1", "모델 0/1"), "there are 1"),
        (("실패 0개", "실패 2개"), "there are 0"),
        (("## 점수", "### KoBART\\n\\n과적합하지 않았습니다.\\n\\n## 점수"), "rose"),
    ],
)
def test_a_claim_without_facts_is_found(build, change, what):
    run, leave = six_models_five_folds(build, models=("kobart",))
    evaluations = [dict(epoch=i, step=8 * i, loss=loss) for i, loss in enumerate((2.0, 1.9, 1.96), 1)]
    found = metrics("train") | dict(evaluations=evaluations, scale="full")
    leave("train", "kobart", found=found, folder="kobart")
    e = read_experiment(run)
    text = f"""전체 {sum(s.status != "skipped" for s in e.steps)}개 단계가 모두 성공했습니다(모델 1/1, 실패 0개). ROUGE 평균은 42.50(41.50~43.50)입니다.

## 모델

## 점수

| 모델 | 평균 |
| --- | ---: |
| KoBART | 42.50 [41.50, 43.50] |
"""
    assert [flaw for flaw in flaws_of_report(text, e) if flaw.kind == "claim"] == []
    old, new = change
    assert old in text
    flaws = flaws_of_report(text.replace(old, new.replace("\\n", "\n")), e)
    assert [flaw for flaw in flaws if flaw.kind == "claim" and what in flaw.what]


def test_claims_on_models_at_chance_are_found(build):
    run, leave = build(models=["kobart"])
    leave("evaluate", "kobart", found=dict(split=scored(16.0, null=16.0, lead2=22.0), scale="replica"))
    e = read_experiment(run)
    told = "> 축소 모형으로 실행했습니다.\n\n### KoBART\n\n- **강점** 길이가 알맞습니다. 통계적으로 유의합니다.\n"
    kinds = [flaw.what for flaw in flaws_of_report(told, e) if flaw.kind == "claim"]
    assert "a strength of a model at chance" in kinds and "all models are at chance" in kinds
    without = [flaw.what for flaw in flaws_of_report(told.replace("축소 모형", "모델"), e)]
    assert "does not say that models were replicas" in without


# and nothing of ours has it


def test_labels_and_known_failures_are_korean():
    def of(name):
        return tomllib.loads((TEXTS / f"{name}.toml").read_text(encoding="utf-8"))

    kinds = of("labels_ko").values()
    texts = [re.sub(r"\{[^}]*\}", "7", text) for kind in kinds for text in kind.values()]
    texts += of("words_ko").values()
    for failure in of("failures")["failure"]:
        texts += [failure[part] for part in ("title", "cause", "remedy")]
        for way in failure.get("alternatives", []):
            texts += [way["action"], way["reason"]]
    for defect in DEFECTS.values():
        texts += [defect.title, defect.why]
    for fault in FAULTS.values():
        texts += [fault.title, fault.rule]
    assert [str(flaw) for text in texts for flaw in flaws_of_text(text)] == []


TEMPLATES = sorted((TEXTS / "report").glob("*.j2"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_are_korean_in_every_branch(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("{# "), "says what it tells and what it is given"
    bare = re.sub(r"\{\{.*?\}\}", "7", re.sub(r"\{#.*?#\}|\{%.*?%\}", "", text, flags=re.S), flags=re.S)
    held = ("term", "english", "plain ending", "mark")
    assert [str(flaw) for flaw in flaws_of_document(bare) if flaw.kind in held] == []
    # a value that is printed is escaped, which takes the blanks at its ends
    assert re.findall(r"\{\{[^{}]*?(?:\"[^\"|{}]+ \"|\" [^\"|{}]+\")(?: if [^{}]*)?\}\}", text) == []


def small(build):
    "An experiment of which hardly anything is known"
    run, leave = build(asked=False)
    leave("train", "kobart", "failed", message="boom")
    return run, leave


EXPERIMENTS = [six_models_five_folds, two_of_four_broken, whole, small]


@pytest.mark.parametrize("section", CHECKED.values(), ids=CHECKED)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_sections_are_korean(build, experiment, section):
    e = read_experiment(experiment(build)[0])
    assert [str(flaw) for flaw in flaws_of_document(section(e))] == []


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_reports_are_korean_and_claim_what_the_facts_say(build, experiment):
    e = read_experiment(experiment(build)[0])
    assert [str(flaw) for flaw in flaws_of_report(render(e), e)] == []


@pytest.mark.parametrize("experiment", [six_models_five_folds, two_of_four_broken])
def test_large_experiments_are_whole(build, experiment):
    e: Experiment = read_experiment(experiment(build)[0])
    assert len({s.stage for s in e.steps}) > 9 and e.ranking and e.differences[0]
    broken = [s for s in e.steps if s.status == "failed"]
    assert len(broken) == (6 if experiment is two_of_four_broken else 0)
