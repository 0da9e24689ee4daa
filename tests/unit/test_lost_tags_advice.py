"What is said of summaries without tags, and of many models that are no better than chance"

from types import SimpleNamespace


def advised(count, **settings):
    from dialsum.report.verdicts import advise
    from dialsum.scores.metrics import FaultCounts

    faults = FaultCounts.of(rows=100, kinds=dict(lost_tags=dict(count=count, references=None)))
    return " ".join(a.action for a, _ in advise(dict(kobart=[]), dict(kobart=faults), dict(kobart=settings)))


def test_lost_tags_ask_for_more_training_and_blame_no_decoding():
    assert "--epochs" in advised(40) and "--new-tokens" in advised(40) and "디코딩" not in advised(40)
    assert "--epochs" in advised(40, new_tokens="tags") and "--new-tokens" not in advised(
        40, new_tokens="tags"
    )
    assert not advised(30)


def test_the_report_blames_no_decoding_and_a_score_of_foreign_files_does():
    from dialsum.report.labels import labels_of
    from dialsum.scores.damage import DAMAGE_LIMITS

    assert (
        "디코딩" not in labels_of("diagnostic_meaning")["lost_tags"]
        and "decoding" in DAMAGE_LIMITS["lost_tags"][3]
    )


def test_models_that_are_not_ranked_are_told_in_whole_sentences():
    from dialsum.generation.metrics import EvaluateMetrics
    from dialsum.report.sections.overview import _unranked

    def step(label, f):
        return SimpleNamespace(label=label, metrics=EvaluateMetrics.of(split=dict(mean=dict(f=f))))

    steps = [step("KoBART", 3.1), step("Qwen3", 3.0), *[step("T5", 2.0)] * 4]
    said = _unranked(steps, "16")
    assert (
        "에서 ROUGE 평균은 KoBART 3.10점, Qwen3 3.00점이고, 나머지 모델 4개의 점수는 점수 절에 있습니다. "
        in said
    )
    assert "KoBART 3.10점, Qwen3 3.00점입니다. " in _unranked(steps[:2], "16")
