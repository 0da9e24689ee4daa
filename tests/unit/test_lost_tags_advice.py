"What is said of summaries without tags"


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
