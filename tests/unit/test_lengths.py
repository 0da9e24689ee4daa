"How long a report is, and what it does not tell twice"

import re

from support.experiments import demo, metrics, six_models_five_folds

from dialsum.report.document import SECTIONS, render
from dialsum.report.experiment import read_experiment
from dialsum.report.markdown import change_text
from dialsum.report.sections.first_screen import section_first_screen
from dialsum.report.systems import Standings
from dialsum.report.templates import FILTERS
from dialsum.scores.metrics import ScoreInterval

LINES = 400  # of the Markdown of a demo


def of_demo(build, section):
    "A section of a demo's report"
    return SECTIONS[section](read_experiment(demo(build)[0]))


def test_a_demo_has_a_short_report(build):
    assert 200 < len(render(read_experiment(demo(build)[0])).splitlines()) < LINES


def test_the_score_of_replicas_is_not_said_to_be_flattered(build):
    text = of_demo(build, "submission")
    assert "높아진" not in text and "| 후보 |" not in text and "축소 모형의 점수이므로" in text


def test_what_replicas_write_is_not_checked(build):
    text = of_demo(build, "scores")
    assert "요약의 상태" not in text and "깨진 태그" not in text


def test_a_model_at_chance_has_its_score_in_one_table(build):
    text = of_demo(build, "each_model")
    assert "무작위 기준을 넘지 못하는 모델: KoBART, Llama-3.2-Korean-3B" in text and "|" not in text


def test_an_ensemble_that_is_one_model_alone_is_no_system_of_its_own(build):
    run = demo(build)[0]
    standings = Standings(read_experiment(run))
    assert len(standings.systems) == 6 and standings.named("ensemble") is standings.named("kobart")
    assert "앙상블" not in SECTIONS["scores"](read_experiment(run))
    assert len(Standings(read_experiment(six_models_five_folds(build)[0])).systems) > 6


def test_a_score_that_is_its_baseline_is_not_called_higher(build):
    text = render(read_experiment(demo(build)[0]))
    assert "점)과 사실상 같습니다" in text and "0.00점 높지만" not in text and "0.00점 낮" not in text


def test_no_zero_is_negative():
    tiny = ScoreInterval(f=-0.001, low=-0.004, high=0.2)
    assert FILTERS["signed"](tiny) == "+0.00 [+0.00, +0.20]" == change_text(-0.001, -0.004, 0.2)


def test_the_rank_is_among_systems_that_were_counted_with_whole_tags(build):
    standings = Standings(read_experiment(six_models_five_folds(build)[0]))
    assert len(standings.systems) == 13 and len(standings.whole_scores) == 6
    assert [standings.whole_rank(s) for s in standings.systems if s.is_model] == [1, 2, 3, 4, 5, 6]
    assert "| 6/6 |" in section_first_screen(standings.experiment)


def test_nothing_at_chance_has_a_rank(build):
    standings = Standings(read_experiment(demo(build)[0]))
    assert [standings.whole_rank(s) for s in standings.systems] == [None] * 6
    assert not re.search(r"\| \d/\d \|", section_first_screen(standings.experiment))


def test_what_training_took_beside_updates_is_said(build):
    run, leave = build(models=["kobart"], scale="full")
    spent = dict(train_seconds=756.0, evaluation_seconds=350.0, rows_per_second=0.254)
    leave("train", "kobart", seconds=1280, found=metrics("train") | spent)
    text = SECTIONS["training"](read_experiment(run))
    assert "| 0.25 | 12분 36초 |" in text and "KoBART 8분 44초(평가 5분 50초)" in text


def test_where_a_score_was_chosen_the_tables_say_so(build):
    run = six_models_five_folds(build)[0]
    for section in ("scores", "training"):
        assert "조금 높게 나왔을 수 있습니다" in SECTIONS[section](read_experiment(run))
