"How long a report is, and what it does not tell twice"

import re
from datetime import datetime, timedelta

from support.experiments import demo, evaluation, metrics, six_models_five_folds, two_of_four_broken, whole

from dialsum.report.diagrams.gantt_chart import Bar, Gantt
from dialsum.report.document import SECTIONS, render
from dialsum.report.experiment import read_experiment
from dialsum.report.figures import FIGURES, draw_rouge
from dialsum.report.markdown import change_text
from dialsum.report.sections.first_screen import section_first_screen
from dialsum.report.sections.next_steps import every_step
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


def test_what_the_first_screen_lists_is_not_listed_again(build):
    e = read_experiment(demo(build)[0])
    assert SECTIONS["next_steps"](e).startswith("할 일 1가지는 모두 맨 위의 표에")
    assert every_step(e).startswith("1. **P2** ")


def test_what_was_not_run_is_said_once_with_a_value(build):
    text = render(read_experiment(whole(build)[0]))
    assert "앙상블(`--ensemble-strategy mbr`)" in text and "폴드로 나누지 않았습니다" not in text
    assert "실행하지 않은 것" in text.split("\n---\n")[1]


def test_the_reason_of_an_api_that_was_not_asked_is_told_once(build):
    e = read_experiment(two_of_four_broken(build)[0])
    assert SECTIONS["api"](e) == "API에 묻지 않았습니다. 이유는 [실패와 미실행](#실패와-미실행)에 있습니다."
    assert "UPSTAGE_API_KEY" in SECTIONS["failures"](e)


def test_an_ensemble_at_chance_tells_no_difference(build):
    text = of_demo(build, "ensemble")
    assert "KoBART도 어느 전략도 무작위" in text and "-5.90" not in text
    assert "가장 좋은 후보의 것을 그대로 썼습니다" in text


def test_small_numbers_have_small_units():
    assert [FILTERS["size"](n) for n in (46_000, 885_120, 1_200_000)] == ["46K", "885K", "1.2M"]


def test_once_is_a_word(build):
    text = render(read_experiment(two_of_four_broken(build)[0]))
    assert "이 실험은 한 번 이어서 실행되었습니다" in text and "실패의 원인은 한 가지이며" in text


def test_a_real_model_has_a_conclusion(build):
    run, leave = build(models=["kobart"], scale="full")
    leave("data", found=dict(train=dict(rows=64)))
    leave("train", "kobart", found=metrics("train") | dict(scale="full"))
    leave("evaluate", "kobart", found=evaluation(40.0, omission=0.9))
    text = SECTIONS["lessons"](read_experiment(run))
    assert "KoBART(ROUGE 평균 40.00)입니다. 무작위 기준과 앞 두 발화 기준을 모두 넘습니다." in text
    assert "KoBART의 가장 큰 문제는 ‘" in text and "40개 가운데 14개입니다" in text and "시간의" not in text


def test_a_short_bar_ends_where_its_stage_ended():
    start = datetime(2026, 11, 29, 11, 17, 54)
    training = Bar("KoBART", "학습", start + timedelta(seconds=5), 1600, "success")
    bars = (Bar("준비", "데이터 준비", start, 0.3, "success"), training)
    chart = Gantt(start, start + timedelta(seconds=1605), bars)
    assert ", 2026-11-29 11:17:54.300" in chart.mermaid()


def test_the_chosen_epoch_has_a_star_and_no_mark_is_cut(build):
    steps = FIGURES["rouge.png"].steps(read_experiment(demo(build)[0]))
    [axis] = draw_rouge(steps).axes
    stars = [line for line in axis.lines if line.get_marker() == "*"]
    highest = max(max(line.get_ydata()) for line in axis.lines)
    assert len(stars) == len(steps) and axis.get_ylim()[1] > 1.05 * highest


def test_a_member_that_was_left_out_has_its_name(build):
    text = SECTIONS["ensemble"](read_experiment(six_models_five_folds(build)[0]))
    assert "`Qwen3-4B 폴드 1` 17.2점" in text and "을 넘은 폭이 가장 좋은 `KoBART`(42.5점)의 50%에도" in text
