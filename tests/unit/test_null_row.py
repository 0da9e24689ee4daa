"The same predictions on the same rows have the same null row, wherever they are scored"

import random

import pandas as pd
import pytest
from support.ensemble import SAMPLE, systems

from dialsum.api.metrics import ComparedModel
from dialsum.api.sampled_scores import score_rows
from dialsum.ensemble.assessment import assess
from dialsum.ensemble.mbr import drop_weak, standing, take_consensus
from dialsum.scores.baselines import shuffled_references
from dialsum.scores.files import score_files
from dialsum.scores.rouge import beats_chance, compare_tables, compared_systems, rouge

ROWS = SAMPLE.tail(24).reset_index(drop=True)  # of the last 16 each has three references
REFERENCES = list(ROWS["summaries"])
TABLE = systems(ROWS, [0.1, 0.2, 0.9], seed=31)


def texts(i):  # of the member with that number
    return [row[i].text for row in TABLE.table]


def scored(predictions, rows=ROWS, **options):
    return rouge(predictions, list(rows["summaries"]), dialogues=list(rows["dialogue"]), **options)


def test_an_evaluation_does_not_depend_on_the_order_of_the_rows():
    order = random.Random(1).sample(range(len(ROWS)), len(ROWS))
    shuffled = ROWS.loc[order].reset_index(drop=True)
    one = scored(texts(0))
    two = scored([texts(0)[i] for i in order], shuffled)
    assert one.rows == two.rows and one.differences == two.differences
    assert one.signature == two.signature and (one.per_dialogue[order] == two.per_dialogue).all()


def test_a_seed_draws_intervals_and_no_null_row():
    one, other = scored(texts(0)), scored(texts(0), seed=7)
    assert {k: s.f for k, s in one.rows["null"].items()} == {k: s.f for k, s in other.rows["null"].items()}
    assert one.rows["null"]["mean"].high != other.rows["null"]["mean"].high


def test_the_command_line_says_what_an_evaluation_says(tmp_path):
    order = random.Random(2).sample(range(len(ROWS)), len(ROWS))  # a dev file that fname does not sort
    dev = ROWS.loc[order].reset_index(drop=True)
    predictions = pd.DataFrame(dict(fname=dev["fname"], summary=[texts(1)[i] for i in order]))
    predictions.to_csv(tmp_path / "p.csv", index=False)
    columns = {f"summary{i}": [s[min(i, len(s)) - 1] for s in dev["summaries"]] for i in (1, 2, 3)}
    pd.DataFrame(dict(fname=dev["fname"], dialogue=dev["dialogue"], **columns)).to_csv(
        tmp_path / "dev.csv", index=False
    )
    three = [tuple(columns[f"summary{i}"][row] for i in (1, 2, 3)) for row in range(len(dev))]
    evaluated = rouge(list(predictions["summary"]), three, dialogues=list(dev["dialogue"]))
    found = score_files(tmp_path / "p.csv", tmp_path / "dev.csv")
    assert found.rows == evaluated.rows and found.differences == evaluated.differences


def test_an_ensemble_knows_the_null_row_of_its_members():
    known = standing(TABLE, REFERENCES)
    evaluated = {m: scored(texts(i)).rows["null"]["mean"].f for i, m in enumerate(TABLE.members)}
    assert known.chance == pytest.approx(evaluated) and len(set(evaluated.values())) == 3
    _, dropped = drop_weak(TABLE, known)
    assert dropped["m2"].fields["chance"] == pytest.approx(evaluated["m2"])


def test_a_strategy_has_the_null_row_that_its_summaries_have_alone():
    chosen = take_consensus(TABLE)
    systems_by_rouge = assess(TABLE, REFERENCES, dict(mbr=chosen), "m0")["metrics"]["rouge"]["systems"]
    for row, summaries in zip(systems_by_rouge, (texts(0), list(chosen["summary"]))):
        alone = scored(summaries).differences
        for name in ("null", "lead2"):
            difference = getattr(row["differences"], name).mean
            expected = alone[name]["mean"]
            assert (difference.f, difference.low, difference.high) == pytest.approx(expected), name


def test_what_an_endpoint_stands_beside_has_it_too():
    ours = score_rows(dict(zip(ROWS["fname"], texts(1))), ROWS)
    alone = scored(texts(1))
    assert ours["null"]["mean"]["f"] == alone.rows["null"]["mean"].f
    model = ComparedModel.of(mean=ours["mean"], differences=ours["differences"])
    assert model.differences.clears("null") is beats_chance(alone.record()) is True


def test_each_of_several_systems_says_whether_it_beats_chance_and_lead_2():
    dealt = [t for pair in zip(texts(0)[1::2], texts(0)[::2]) for t in pair]  # of the dialogue beside
    tables = dict(plain=scored(texts(0)), noise=scored(dealt))
    plain, noise = compared_systems(compare_tables(tables, "plain"), tables)
    assert plain.differences.clears("null") and plain.differences.clears("lead2")
    assert noise.differences.clears("null") is False and noise.differences.clears("lead2") is False
    assert plain.per_dialogue == tables["plain"].per_dialogue[:, 3].round(4).tolist()
    assert noise.p is not None and noise.detectable > 0


def test_equal_references_are_not_other_ones():
    references = [("가",), ("나",), ("가",), ("다",)]
    shuffles = shuffled_references(references)
    assert len(shuffles) == 2
    for others in shuffles:
        assert others[0] == others[2] and not any(map(tuple.__eq__, references, others))
    same = rouge(["우산", "안경"], ["우산을 찾는다", "우산을 찾는다"])
    assert same.rows["null"] is None and "null:different-references,shuffles=0" in same.signature
    assert "2 dialogues with the same references have no null row" in same.warnings[0]
