"What an experiment teaches, by rules"

import re

import pytest
from support.experiments import paired, six_models_five_folds, two_of_four_broken, whole

from dialsum.report.document import render
from dialsum.report.experiment import read_experiment
from dialsum.report.sections.model_differences import compare_models


def lessons(run):
    "The lines of the section"
    text = render(read_experiment(run)).split("## 결론과 교훈\n\n", 1)[1].split("\n\n## ", 1)[0]
    return text.split("\n")


@pytest.mark.parametrize("models", [("kobart",), ("kobart", "qwen3-4b"), None])
def test_what_holds_for_several_models_is_told_once(build, models):
    run = six_models_five_folds(build, models=models)[0] if models else six_models_five_folds(build)[0]
    told = lessons(run)
    assert len(told) == len(set(told))
    [of_tta] = [line for line in told if line.startswith("- TTA")]
    assert "이 데이터로는 말할 수 없습니다(KoBART" in of_tta and "비용은 3.6배" in of_tta
    assert bool(re.search(r"\+0\.30 \[-0\.50, \+1\.10\]", of_tta)) == (models == ("kobart",))


def test_a_gain_is_told_with_its_interval(build):
    told = lessons(six_models_five_folds(build)[0])
    assert "- 앙상블(합의(MBR))은 KoBART보다 통계적으로 유의하게 높습니다(+1.20 [+0.40, +2.00])." in told


def test_what_dev_can_show_is_told_in_one_place(build):
    "In the section on differences, for the pair that takes most; of models that differ alike nowhere"
    assert "알아낼 수 있는 차이" not in render(read_experiment(six_models_five_folds(build)[0]))
    run, leave = build(models=["kobart", "qwen3-4b", "solar-10.7b"], scale="full")
    paired(leave, "kobart", [45.0 + i % 8 for i in range(40)], scale="full")
    paired(leave, "qwen3-4b", [40.0 + i % 8 + i % 2 for i in range(40)], scale="full")
    paired(leave, "solar-10.7b", [40.0 + i % 8 + 9 * (i % 2) for i in range(40)], scale="full")
    e = read_experiment(run)
    rows = compare_models(e).tested
    assert re.findall(r"([\d.]+)점부터", render(e)) == [f"{max(r.row.detectable for r in rows):.2f}"]
    assert not any("검정력" in line for line in lessons(run))


def test_lost_models_are_counted_and_named(build):
    first, *_ = lessons(two_of_four_broken(build)[0])
    assert re.match(r"- 모델 4개 가운데 2개를 끝까지 실행하지 못했습니다: .+, .+\.", first)


def test_a_replica_teaches_nothing_about_scores(build):
    told = "\n".join(lessons(whole(build)[0]))
    assert "모델의 성능에 대해서는 아무것도 말하지 않습니다" in told and "유의" not in told
