"What was chosen by the dialogues that it is measured on: how much too good its score is, wherever one is chosen"

from types import SimpleNamespace

import numpy as np
import pytest
from support.ensemble import SAMPLE, systems
from support.experiments import scored

from dialsum.ensemble.assessment import assess, strategy_optimism
from dialsum.ensemble.mbr import best_member, standing, take_consensus, weighted_avg
from dialsum.generation import choices
from dialsum.pipeline.metrics import SubmissionCandidate, SubmitMetrics
from dialsum.pipeline.submission import beside_best_model, dev_scores, submission_optimism
from dialsum.runs.errors import DialsumError
from dialsum.runs.facts import place
from dialsum.runs.files import to_json
from dialsum.runs.records import Fact
from dialsum.scores.metrics import Optimism, ScoredMetrics
from dialsum.scores.nesting import (
    DEALS,
    FOLDS,
    best_candidate,
    dealt_folds,
    nested_scores,
    refitted_optimism,
    selection_optimism,
)
from dialsum.training.fine_tuning import training_history
from dialsum.training.metrics import TrainMetrics


def equally_good(rng, k, n, own=8.0):
    "k candidates of n dialogues that differ by luck alone, and what each is really worth on these dialogues"
    hard = rng.normal(40, 15, n)
    return {f"c{i}": row for i, row in enumerate(hard + rng.normal(0, own, (k, n)))}, hard.mean()


# what it says is true


@pytest.mark.parametrize(("k", "n"), [(2, 50), (5, 50), (12, 100)])
def test_the_highest_is_too_good_and_nesting_knows_by_how_much(k, n):
    rng, naive, nested, held = np.random.default_rng(1), [], [], []
    expected = np.random.default_rng(2).normal(0, 8 / n**0.5, (4000, k)).max(1).mean()
    for _ in range(150):
        scores, worth = equally_good(rng, k, n)
        found = selection_optimism("epoch", scores)
        naive.append(found.naive - worth)
        nested.append(found.nested - worth)
        held.append(found.low <= expected <= found.high)
    assert np.mean(naive) > 0.7 * expected > 3 * abs(np.mean(nested)), (np.mean(naive), np.mean(nested))
    assert np.mean(held) >= 0.95  # of the intervals have the truth


def test_what_is_clearly_better_is_not_called_lucky():
    scores, _ = equally_good(np.random.default_rng(3), 4, 60)
    found = selection_optimism("epoch", scores | dict(better=scores["c0"] + 9))
    assert (found.chosen, found.optimism, found.share) == ("better", 0, 1.0)
    assert found.choices == dict(better=FOLDS * DEALS) and found.low <= 0 <= found.high


def test_of_two_that_are_equal_the_first_is_chosen_in_every_fold():
    values = np.random.default_rng(4).normal(40, 10, 30)
    found = selection_optimism("decoding", dict(plain=values, cut=values.copy()))
    assert (found.chosen, found.optimism, found.low, found.high) == ("plain", 0, 0, 0)
    assert found.choices == dict(plain=FOLDS * DEALS)


def test_the_same_scores_say_the_same():
    scores, _ = equally_good(np.random.default_rng(5), 5, 40)
    one, again = (selection_optimism("epoch", scores, seed=7) for _ in range(2))
    assert to_json(one.to_dict()) == to_json(again.to_dict())
    other = selection_optimism("epoch", scores, seed=8)
    assert (other.chosen, other.naive) == (one.chosen, one.naive) and other.nested != one.nested


@pytest.mark.parametrize("n", [2, 3, 16])
def test_few_dialogues_are_dealt_too(n):
    folds = dealt_folds(n, 42)
    assert folds.shape == (DEALS, n) and all(set(deal) == set(range(min(n, FOLDS))) for deal in folds)
    scores, _ = equally_good(np.random.default_rng(6), 3, n)
    found = selection_optimism("epoch", scores)
    assert found.low <= found.optimism <= found.high and found.dialogues == n
    assert sum(found.choices.values()) == min(n, FOLDS) * DEALS


def test_of_one_dialogue_nobody_can_say():
    found = selection_optimism("epoch", dict(a=[40.0], b=[41.0]))
    assert (found.chosen, found.dialogues, found.optimism, found.share) == ("b", 1, None, None)
    assert Optimism.read(found.to_dict(), "a file").to_dict() == found.to_dict()


def test_scores_of_other_dialogues_are_refused():
    with pytest.raises(DialsumError, match="'b'"):
        selection_optimism("epoch", dict(a=[1.0, 2.0], b=[1.0, 2.0, 3.0]))


# what has to be learned anew


def test_every_dialogue_is_scored_once_and_never_by_what_it_taught():
    seen = []

    def fit_and_score(training, others):
        assert not set(training) & set(others) and sorted([*training, *others]) == list(range(23))
        seen.extend(others)
        return "anything", others * 10.0

    scores, names = nested_scores(dealt_folds(23, 1)[0], fit_and_score)
    assert sorted(seen) == list(range(23)) and scores.tolist() == [i * 10.0 for i in range(23)]
    assert names == dict(anything=FOLDS)


def test_what_has_learned_noise_by_heart_is_found_out():
    rng = np.random.default_rng(8)
    features, scores = rng.normal(size=(40, 15)), rng.normal(50, 10, 40)

    def predicted(training, others):  # points that a fit explains: none, since there is nothing to learn
        usual = scores[training].mean()
        weights = np.linalg.lstsq(features[training], scores[training] - usual, rcond=None)[0]
        return "fit", 10 - abs(scores[others] - usual - features[others] @ weights)

    every = np.arange(40)
    found = refitted_optimism("weights", dict(fit=predicted(every, every)[1]), predicted)
    assert found.naive - found.nested == pytest.approx(found.optimism) and found.optimism > 2
    assert (found.low, found.high, found.candidates) == (None, None, ["fit"])


# where something is chosen on dev


def test_an_ensemble_says_how_much_of_it_is_dev():
    rows = SAMPLE.head(40)
    c = systems(rows, (0.25,) * 6, 21)
    s = standing(c, rows["summaries"])
    alone = strategy_optimism(c, rows["summaries"], dict(best=best_member(c, s)), s, "best")
    by_hand = selection_optimism("strategy", s.scores)  # the best member is one that was chosen on dev
    assert alone.naive == pytest.approx(by_hand.naive) and alone.nested == pytest.approx(by_hand.nested)
    assert alone.optimism > 0
    ways = dict(best=best_member(c, s), mbr=take_consensus(c), weighted_avg=weighted_avg(c, s))
    systems_by_rouge = assess(c, rows["summaries"], ways, s.best)["metrics"]["rouge"]["systems"]
    means = {row["system"]: np.array(row["per_dialogue"]) for row in systems_by_rouge}
    found = strategy_optimism(c, rows["summaries"], ways, s, best_candidate(means))
    assert found.candidates == list(ways) and found.naive == pytest.approx(
        means[found.chosen].mean(), abs=1e-3
    )


def test_a_way_of_writing_that_was_chosen_on_dev_is_said_to_be(monkeypatch):
    rows = SAMPLE.head(12)
    texts = [s[0] for s in rows["summaries"]]
    trials = [
        choices._Trial(False, False, texts[:6] + texts[:6], [False] * 12),
        choices._Trial(True, False, texts[6:] + texts[6:], [False] * 12),
    ]
    monkeypatch.setattr(choices, "_trials", lambda *args: trials)
    predictor = SimpleNamespace()
    _, chosen, [found] = choices.choose_on_dev(predictor, rows, "auto", "off", rule="a rule")
    assert (found.choice, found.candidates) == ("decoding", ["plain", "length_control"])
    assert found.naive == pytest.approx(chosen["tried"][found.chosen]) and found.nested <= found.naive
    trials.pop()
    assert choices.choose_on_dev(predictor, rows, "off", "off")[2] == []  # nothing was chosen


def epoch_logs(scores):
    "What a trainer logs of its evaluations, with each dialogue's score"
    logs = []
    for i, each in enumerate(scores, start=1):
        mean = float(np.mean(each))
        logs.append(
            dict(eval_loss=2.0, eval_rouge_mean=mean, eval_per_dialogue=each, step=8 * i, epoch=float(i))
        )
    return logs


def test_the_best_epoch_is_said_to_be_chosen_on_dev():
    scores = [values.tolist() for values in equally_good(np.random.default_rng(9), 3, 30)[0].values()]
    logs = epoch_logs(scores)
    best = int(np.argmax(np.mean(scores, 1)))
    state = SimpleNamespace(log_history=logs, best_global_step=logs[best]["step"])
    metrics = TrainMetrics.of(**training_history(state))
    [found] = metrics.optimism
    assert (found.choice, found.chosen) == ("epoch", f"epoch{best + 1}")
    assert found.candidates == ["epoch1", "epoch2", "epoch3"]
    assert found.naive == pytest.approx(metrics.best.rouge_mean) and found.low < found.optimism < found.high
    assert "per_dialogue" not in to_json(metrics.to_dict())  # facts stay small

    del logs[0]["eval_per_dialogue"]  # begun by a version that did not keep them
    [unknown] = TrainMetrics.of(**training_history(state)).optimism
    assert unknown.candidates == found.candidates and unknown.optimism is unknown.naive is None
    alone = SimpleNamespace(log_history=logs[1:2], best_global_step=logs[1]["step"])
    assert training_history(alone)["optimism"] == []  # nothing was chosen


@pytest.fixture
def submitting(tmp_path):
    "A function that leaves dev facts of candidates, and gives what the submit stage reads them with"

    def left(**scores):
        files = {}
        stage = SimpleNamespace(run=tmp_path, read=lambda path, kind: files[path])
        ranked = []
        for name, values in sorted(scores.items(), key=lambda item: -np.mean(item[1] or [0])):
            name = name.replace("_", "/")
            model, _, kind = name.partition("/")
            path = place(tmp_path, model) / f"{kind or 'evaluate'}.json"
            if name == "ensemble":
                path = tmp_path / "ensemble.json"
            table = scored(float(np.mean(values or [0])))
            metrics = dict(split=table) | (dict(per_dialogue=values) if values else {})
            files[path] = Fact[ScoredMetrics].model_validate(
                dict(stage=path.stem, status="success", metrics=metrics)
            )
            ranked.append(SubmissionCandidate(model=name, score=float(np.mean(values or [0]))))
        return stage, ranked

    return left


def test_a_submission_stands_beside_the_best_model_alone(submitting):
    kobart = np.random.default_rng(10).normal(40, 10, 24)
    stage, ranked = submitting(
        kobart=kobart.tolist(), ensemble=(kobart + 2).tolist(), kobart_tta=(kobart - 1).tolist()
    )
    scores = dev_scores(stage, ranked)
    assert list(scores) == ["ensemble", "kobart", "kobart/tta"]
    [found] = submission_optimism(scores, ranked)
    assert (found.choice, found.chosen, found.optimism) == ("submission", "ensemble", 0)
    beside = beside_best_model(scores, ranked)
    assert [row.system for row in beside] == ["kobart", "ensemble", "kobart/tta"]
    assert beside[1].difference == pytest.approx(2) and beside[1].is_significant
    assert (
        SubmitMetrics.of(chosen="ensemble", systems=beside, optimism=[found]).optimism[0].naive == found.naive
    )


def test_a_submission_whose_scores_are_unknown_says_so(submitting):
    stage, ranked = submitting(kobart=[40.0, 41.0], ensemble=[])
    assert dev_scores(stage, ranked) == {} and beside_best_model({}, ranked) == []
    [found] = submission_optimism({}, ranked)
    assert (found.chosen, found.candidates, found.optimism) == ("kobart", ["kobart", "ensemble"], None)
    assert submission_optimism({}, ranked[:1]) == []  # there was nothing to choose from
    stage, ranked = submitting(kobart=[40.0, 41.0], ensemble=[40.0, 41.0, 42.0])
    assert dev_scores(stage, ranked) == {}  # not of the same dialogues


def test_facts_of_before_say_nothing_of_it():
    old = dict(split=scored(40.0), per_dialogue=[40.0] * 3)
    assert ScoredMetrics.model_validate(old).optimism == []
    assert (
        SubmitMetrics.model_validate(dict(chosen="kobart", candidates=[dict(model="kobart")])).systems == []
    )
