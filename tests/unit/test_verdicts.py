"What is said of a model follows from its numbers, and advice has a number where an option takes one"

import itertools
import re
import shlex

import pytest
from support.experiments import scored

from dialsum.generation.metrics import EvaluateMetrics
from dialsum.models.cards import card
from dialsum.report.experiment import read_experiment
from dialsum.report.labels import labels_of
from dialsum.report.sections.each_model import verdicts_on
from dialsum.report.verdicts import Judgement, advise, judge_summaries, judge_training
from dialsum.runs.parameters import stage_parameters, stages
from dialsum.scores.metrics import FaultCounts
from dialsum.scores.summary_errors import FAULTS
from dialsum.training.metrics import TrainMetrics

FALLING = [dict(epoch=i / 4, loss=5 - i / 10) for i in range(1, 40)]
RISING = [dict(epoch=i / 4, loss=5 + i / 10) for i in range(1, 40)]


def fit(losses, rouge=(), curve=FALLING, chosen=None):
    "The last verdict on a training with these dev losses, and ROUGE means where they were measured"
    evaluations = [dict(epoch=i, loss=loss) for i, loss in enumerate(losses, 1)]
    for evaluation, mean in zip(evaluations, rouge):
        evaluation["rouge_mean"] = mean
    best = evaluations[(chosen or len(losses)) - 1]
    return judge_training(TrainMetrics.of(curve=curve, evaluations=evaluations, best=best))[-1]


# the curve


@pytest.mark.parametrize(
    ("losses", "rule", "good"),
    [
        ((5.0, 4.0, 3.99), "overfitting", True),  # lowest at the end
        ((5.0, 4.0, 4.0), "overfitting", True),
        ((5.0, 4.0, 3.0), "unfinished", False),
        ((4.0, 4.03), "overfitting", True),  # within 1 %
        ((4.0, 4.05), "rising", False),
        ((3.0, 3.01, 3.02), "rising", False),  # twice in a row
        ((1.875, 1.897, 1.920), "rising", False),
        ((5.0, 4.0, 4.5), "overfitting", False),
    ],
)
def test_only_a_curve_that_says_so_did_not_over_fit(losses, rule, good):
    verdict = fit(losses)
    assert (verdict.rule, verdict.good) == (rule, good)
    assert ("과적합하지 않았습니다" in verdict.text) == (rule == "overfitting" and good)


def test_a_rising_loss_is_told_with_its_epoch_and_its_rise():
    assert "에폭 2부터 올라갑니다(2.4%)" in fit((1.875, 1.897, 1.920)).text
    assert "에폭 3부터 올라가(12.5%)" in fit((5.0, 4.0, 4.5)).text


@pytest.mark.parametrize("curve", [[], RISING], ids=["not recorded", "rising, too"])
def test_nothing_over_fits_unless_its_training_loss_is_recorded_as_falling(curve):
    verdict = fit((5.0, 4.0, 4.5), curve=curve)
    assert (verdict.rule, verdict.good) == ("rising", False) and "과적합" not in verdict.text


@pytest.mark.parametrize("losses", [(1.875, 1.897, 1.920), (4.0, 4.2, 4.8)])
def test_a_rising_loss_is_no_weakness_where_the_summaries_became_better(losses):
    verdict = fit(losses, rouge=(28.68, 31.37, 34.42))
    assert (verdict.rule, verdict.good) == ("rising", None) and "과적합" not in verdict.text
    assert "28.68점에서 34.42점으로 올랐습니다" in verdict.text and "에폭 3의 모델" in verdict.text


def test_better_summaries_excuse_no_loss_that_rose_after_them():
    verdict = fit((4.0, 4.2, 4.8), rouge=(34.42, 31.37, 28.68), chosen=1)
    assert (verdict.rule, verdict.good) == ("overfitting", False) and "고른 에폭은 1입니다" in verdict.text
    verdict = fit((5.0, 4.0, 4.8), rouge=(34.42, 31.37, 28.68), chosen=1)  # nor one before them
    assert (verdict.rule, verdict.good) == ("overfitting", False)


# chance


def faults(*kinds, rows=16):
    return FaultCounts.of(
        rows=rows, kinds={k: dict(count=rows // 2 * (k in kinds), references=0) for k in FAULTS}
    )


def test_a_model_at_chance_level_has_one_verdict(build):
    run, leave = build(models=["kobart", "qwen3-4b"])
    for name, null in (("kobart", 39.5), ("qwen3-4b", 16.0)):
        leave("train", name)
        leave(
            "evaluate",
            name,
            found=dict(
                split=scored(40.0, null=null, length_ratio=0.1),
                faults=faults("cut", "omission").to_dict(),
                scale="full",
            ),
        )
    e = read_experiment(run)
    [only] = verdicts_on(e, "KoBART")
    assert (only.rule, only.good) == ("chance", False)
    assert only.text == (
        "무작위 기준을 넘지 못합니다. ROUGE 평균 40.00점은 무작위 기준(39.50점)보다 0.50점 높지만 오차 범위 안입니다."
    )
    assert {v.rule for v in verdicts_on(e, "Qwen3-4B")} > {"learning", "baseline", "faults", "length"}


@pytest.mark.parametrize(
    ("lead2", "text", "good"),
    [
        (22.0, "ROUGE 평균 40.00점은 무작위 기준(16.00점)과 앞 두 발화 기준(22.00점)을 모두 넘습니다.", True),
        (39.5, "앞 두 발화 기준(39.50점)보다 0.50점 높지만 오차 범위 안입니다.", False),
        (50.0, "앞 두 발화 기준(50.00점)보다 10.00점 낮습니다.", False),
    ],
)
def test_a_score_is_set_against_what_it_has_to_clear(lead2, text, good):
    verdicts = judge_summaries(EvaluateMetrics.of(split=scored(40.0, lead2=lead2)))
    baselines = [v for v in verdicts if v.rule == "baseline"]
    assert text in baselines[-1].text and baselines[-1].good == good
    assert len(baselines) == (1 if good else 2)


def chance_advice(settings, loss_change=-0.3):
    verdict = Judgement("chance", False, "", dict(rise=loss_change))
    everything = faults(*FAULTS)
    return [a.action for a, _ in advise({"m": [verdict]}, {"m": everything}, {"m": settings})]


@pytest.mark.parametrize(
    ("settings", "loss_change", "option"),
    [
        (dict(scale="replica"), -0.3, "`--scale full`"),
        (dict(epochs=1, updates=8), -0.3, "`--epochs 7`"),
        (dict(epochs=3, updates=96, learning_rate=1e-4), 0.2, "`--learning-rate 1e-05`"),
        (dict(epochs=3, updates=96, learning_rate=1e-4), 0.0, "`--learning-rate 0.001`"),
        (dict(epochs=3, updates=96), -0.3, "`--epochs 5`"),
        (dict(epochs=3, updates=96, stopped=True), -0.3, "`--use-augmentation --augmentation-ratio 0.5`"),
        (
            dict(epochs=3, updates=96, stopped=True, use_augmentation=True, model="kobart"),
            -0.3,
            "`--models llama-3.2-korean-3b`",
        ),
    ],
)
def test_a_model_at_chance_level_gets_one_piece_of_advice(settings, loss_change, option):
    [action] = chance_advice(settings, loss_change)
    assert option in action and action.count("니다") == 1


# numbers of advice


def advised(rule, settings, **values):
    "What is advised of a model with this verdict alone, or with this fault"
    verdicts = [] if rule in FAULTS else [Judgement(rule, False, "", values)]
    found = advise({"m": verdicts}, {"m": faults(rule)}, {"m": settings})
    return " ".join(a.action for a, _ in found)


@pytest.mark.parametrize(
    ("rule", "settings", "values", "options"),
    [
        ("unfinished", dict(epochs=3), {}, ["--epochs 5"]),
        ("unfinished", dict(epochs=1), {}, ["--epochs 2"]),
        (
            "unfinished",
            dict(epochs=9, stopped=True, early_stopping_patience=3),
            {},
            ["--early-stopping-patience 4"],
        ),
        (
            "stability",
            dict(learning_rate=1e-4, warmup_ratio=0.1),
            {},
            ["--learning-rate 5e-05", "--warmup-ratio 0.2"],
        ),
        ("learning", dict(learning_rate=1e-4, updates=96), dict(rise=0.1), ["--learning-rate 1e-05"]),
        ("learning", dict(learning_rate=1e-4, updates=96), dict(rise=0.0), ["--learning-rate 0.001"]),
        ("learning", dict(epochs=2, updates=10), dict(rise=0.0), ["--epochs 10"]),
        (
            "overfitting",
            dict(epochs=3),
            dict(lowest_epoch=1, best_epoch=3),
            ["--epochs 1", "--augmentation-ratio 0.5"],
        ),
        ("rising", dict(epochs=4), dict(lowest_epoch=2.0, best_epoch=3.0), ["--epochs 2"]),
        ("cut", dict(whole_sentences="on", max_new_tokens=93, max_target=96), {}, ["--max-new-tokens 140"]),
        ("cut", dict(whole_sentences="on", max_new_tokens=32, max_target=96), {}, ["--max-new-tokens 100"]),
        ("empty", dict(max_new_tokens=96, learning_rate=1e-4), {}, ["--min-new-tokens 10"]),
        ("lost_tags", dict(epochs=3, new_tokens="#Person1#"), {}, ["--epochs 5"]),
    ],
)
def test_advice_has_the_number_that_its_rule_gives(rule, settings, values, options):
    told = advised(rule, settings, **values)
    for option in options:
        assert f"{option}`" in told or f"{option} " in told, told


def test_every_piece_of_advice_can_be_typed():
    "Each option exists, and has a value of its type unless it is a switch"
    from dialsum.report.advice_values import with_values

    known = {name: p for stage in stages() for name, p in stage_parameters(stage).items()}
    known["models"] = known["model"]
    options = 0
    for key, sentence in labels_of("advice").items():
        for span in re.findall("`([^`]*)`", with_values(sentence, {})):
            words = [*shlex.split(span, comments=True), "--"]
            for word, following in itertools.pairwise(words):
                if not word.startswith("--"):
                    continue
                parameter = known[word[2:].replace("-", "_")]
                options += 1
                if parameter.type is bool:
                    assert following.startswith("--"), (key, span)
                else:
                    parameter.convert(following)
                    assert not following.startswith("--"), (key, span)
    assert options > 20


def test_a_model_reads_more_only_where_it_has_positions():
    from dialsum.report.advice_values import more_source

    assert more_source(card("kobart"), 512, 128) == 1024
    assert more_source(card("kobart"), 700, 128) == 1024  # all that there are
    assert more_source(card("kobart"), 1024, 128) is None
    assert more_source(card("polyglot-ko-12.8b"), 1024, 128) == 1920


OF_TWO_ROWS_EACH = [
    *(2.61, 2.27, 2.44, 2.09, 2.26, 1.88, 1.92, 2.03, 2.38, 1.75, 1.73, 1.65, 1.99, 1.77, 1.58, 1.77, 1.93),
    *(1.6, 1.65, 1.67, 1.39, 1.4, 1.52, 1.52, 1.5, 1.8, 1.28, 1.33, 1.54, 1.53, 1.29, 1.7, 1.2, 1.07, 1.34),
    *(1.17, 1.34, 1.62, 1.16, 1.41, 1.3, 1.19, 1.22, 1.14, 1.42, 1.18, 1.15),
]


@pytest.mark.parametrize(
    ("losses", "stable"),
    [
        (OF_TWO_ROWS_EACH, True),
        ([*OF_TWO_ROWS_EACH[:20], 4.5, *OF_TWO_ROWS_EACH[20:]], False),
        ([*OF_TWO_ROWS_EACH[:20], *(1.4 * 1.2**i for i in range(10))], False),
    ],
    ids=["noise of small batches", "a spike", "divergence"],
)
def test_losses_of_few_dialogues_are_noisy_and_no_sign_of_instability(losses, stable):
    curve = [dict(step=i, epoch=i / 16, loss=loss, grad_norm=6) for i, loss in enumerate(losses)]
    [stability] = [j for j in judge_training(TrainMetrics.of(curve=curve)) if j.rule == "stability"]
    assert stability.good is stable, stability.text


@pytest.mark.parametrize("rule", ["overfitting", "rising"])
@pytest.mark.parametrize("best_epoch", [1, 2, 0], ids=["before the lowest loss", "at it", "unknown"])
def test_fewer_epochs_are_advised_only_where_a_later_one_was_chosen(rule, best_epoch):
    curve = dict(lowest_epoch=2, best_epoch=best_epoch)
    rows = advised(rule, dict(epochs=4, learning_rate=1e-4), **curve)
    assert "--epochs" not in rows and "--use-augmentation" in rows and "`--learning-rate 5e-05`" in rows
    assert "`--epochs 2`" in advised(rule, dict(epochs=4), **(curve | dict(best_epoch=4)))


def test_a_rising_loss_knows_which_epoch_was_chosen():
    verdict = fit((5.0, 4.0, 4.8), rouge=(34.42, 31.37, 28.68), chosen=1)
    assert (verdict.values["best_epoch"], verdict.values["lowest_epoch"]) == (1, 2)


@pytest.mark.parametrize(
    ("ratio", "is_advised"), [(0.85, False), (1.2, False), (0.6, True), (1.6, True), (None, True)]
)
def test_omissions_ask_for_another_length_only_where_the_length_is_wrong(ratio, is_advised):
    assert ("--length-control auto" in advised("omission", dict(length_ratio=ratio))) == is_advised


def omissions(count, **settings):
    counts = FaultCounts.of(rows=16, kinds=dict(omission=dict(count=count, references=0)))
    [(advice, _)] = advise({"m": []}, {"m": counts}, {"m": dict(length_ratio=0.85) | settings})
    return advice


def test_what_most_summaries_omit_asks_for_more_dialogues_or_a_larger_model():
    advice = omissions(15, model="gemma-3-270m")
    assert advice.options == "--use-augmentation --augmentation-ratio 0.5"
    assert "더 큰 모델로 바꿉니다(`--models llama-3.2-korean-3b`)" in advice.action
    assert omissions(4, model="gemma-3-270m").options == "--num-beams 4"
    assert omissions(15, model="gemma-3-270m", num_beams=4, use_augmentation=True).options.startswith(
        "--models "
    )
    assert "--models" not in omissions(15, model="qwen3-14b").action


def test_the_commonest_fault_is_advised_on_first_with_its_count():
    counts = FaultCounts.of(
        rows=16,
        kinds={k: dict(count=c, references=0) for k, c in dict(repetition=2, omission=15, cut=8).items()},
    )
    advice = [a for a, _ in advise({"m": []}, {"m": counts}, {"m": {}})]
    assert [a.rule for a in advice] == ["omission", "cut", "repetition"]
    assert [a.evidence for a in advice] == [f"요약 16개 중 {n}개" for n in (15, 8, 2)]


def test_of_several_models_the_one_with_the_most_faults_is_named_first():
    counts = {
        m: FaultCounts.of(rows=16, kinds=dict(cut=dict(count=c, references=0)))
        for m, c in dict(a=4, b=12).items()
    }
    [(advice, models)] = advise({"a": [], "b": []}, counts, {})
    assert models == ["b", "a"] and advice.evidence == "요약 16개 중 12개"


def test_the_second_step_stands_behind_a_condition_and_not_in_the_options():
    counts = FaultCounts.of(rows=16, kinds=dict(repetition=dict(count=8, references=0)))
    [(advice, _)] = advise({"m": []}, {"m": counts}, {"m": {}})
    first, _, second = advice.action.partition(" 그래도 나아지지 않으면 ")
    assert advice.options == "--no-repeat-ngram-size 3" and f"`{advice.options}`" in first
    assert "`--repetition-penalty 1.2`" in second
