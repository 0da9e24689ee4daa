"What an experiment teaches, by rules"

import re

import pytest
from support.experiments import six_models_five_folds, two_of_four_broken, whole

from dialsum.report.document import render
from dialsum.report.experiment import read_experiment


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


def test_a_difference_of_nothing_is_no_bound(build):
    "Made-up models differ by the same points in every dialogue: no spread, and nothing to say about smaller ones"
    assert not any("가려내기 어렵습니다" in line for line in lessons(six_models_five_folds(build)[0]))


def test_lost_models_are_counted_and_named(build):
    first, *_ = lessons(two_of_four_broken(build)[0])
    assert re.match(r"- 모델 4개 가운데 2개를 끝까지 실행하지 못했습니다: .+, .+\.", first)


def test_a_replica_teaches_nothing_about_scores(build):
    told = "\n".join(lessons(whole(build)[0]))
    assert "모델의 성능에 대해서는 아무것도 말하지 않습니다" in told and "유의" not in told
