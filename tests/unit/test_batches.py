"Which rows an update learns together, and in how many passes"

from itertools import product

import numpy as np
import pytest

from dialsum.training.batches import (
    PASS,
    POOL,
    POOLS,
    UpdateCollator,
    UpdateSampler,
    micro_batches,
    rows_of_updates,
    size_of,
)

SIZES = [
    (int(read), int(learned))
    for read, learned in np.random.default_rng(7).lognormal((5.2, 3.6), (0.5, 0.4), (2500, 2))
]


def updates(per_update=8, seed=42, epoch=0, first=0, rows=2500):
    return [*rows_of_updates(SIZES.__getitem__, rows, per_update, seed, epoch, first)]


class Rows:
    "As the sampler knows them: how many, how long, which is the longest"

    size = staticmethod(SIZES.__getitem__)

    def __len__(self):
        return len(SIZES)

    def longest(self):
        return 5


def example(read, learned, source=0):
    return dict(input_ids=[1] * read, attention_mask=[1] * read, labels=[-100] * source + [1] * learned)


@pytest.mark.parametrize(("rows", "per_update"), [(1, 1), (1, 8), (7, 8), (8, 8), (817, 8), (2500, 3)])
def test_an_epoch_has_each_row_once(rows, per_update):
    made = updates(per_update, rows=rows)
    assert sorted(row for update in made for row in update) == [*range(rows)]
    assert sorted(map(len, made))[1:] == [per_update] * (rows // per_update - (rows % per_update == 0))
    assert len(made) == -(-rows // per_update)


def test_seed_and_epoch_alone_decide_which_rows_meet():
    def pairs(made):
        return {frozenset(update) for update in made}

    assert updates() == updates()
    np.random.seed(0)
    np.random.random(5)
    assert updates(epoch=3) == updates(epoch=3)
    for other in (updates(seed=43), updates(epoch=1)):
        assert len(pairs(other) & pairs(updates())) < 5


def test_the_longest_row_is_learned_first():
    longest = max(range(len(SIZES)), key=SIZES.__getitem__)
    for epoch in range(3):
        assert longest in updates(epoch=epoch, first=longest)[0]


def test_less_than_a_tenth_of_what_is_read_is_padding():
    def padding(made, what):
        computed = sum(len(rows) * max(SIZES[row][what] for row in rows) for rows in made)
        return 1 - sum(size[what] for size in SIZES) / computed

    shuffled = np.random.default_rng(0).permutation(len(SIZES) - 4).reshape(-1, 8)
    assert padding(updates(), 0) < 0.1 < 0.3 < padding(shuffled, 0)
    assert padding(updates(), 1) < 0.2 < 0.25 < padding(shuffled, 1)


def test_long_and_short_rows_come_in_turn():
    lengths = [np.mean([SIZES[row][0] for row in update]) for update in updates()]
    halves = np.mean(lengths[: len(lengths) // 2]), np.mean(lengths[len(lengths) // 2 :])
    assert abs(halves[0] - halves[1]) < 0.2 * min(halves)
    rises = np.mean(np.diff(lengths) > 0)
    assert 0.4 < rises < 0.6


def test_few_rows_meet_others_in_each_epoch():
    "Copies of a few rows would otherwise be learned beside themselves alone"
    size = {row: (100 + row % 16, 20) for row in range(160)}.__getitem__
    made = [[*rows_of_updates(size, 160, 4, 42, epoch)] for epoch in range(2)]
    for of_epoch in made:
        alike = [update for update in of_epoch if len({row % 16 for row in update}) == 1]
        assert len(alike) < len(of_epoch) / 4
    pairs = [{frozenset(update) for update in of_epoch} for of_epoch in made]
    assert len(pairs[0] & pairs[1]) <= 1


def test_the_first_update_needs_the_lengths_of_one_pool():
    measured = set()

    def size(row):
        measured.add(row)
        return SIZES[row]

    next(rows_of_updates(size, len(SIZES), 8, 42, 0))
    assert len(measured) == len(SIZES) // (POOLS * 8) * 8 < POOL * 8


def test_a_sampler_goes_on_where_an_epoch_begins():
    examples = Rows()
    whole, later = UpdateSampler(examples, 8, 1), UpdateSampler(examples, 8, 1)
    assert len([*whole]) == len(whole)
    for sampler in (whole, later):
        sampler.set_epoch(1)
    assert [*whole] == [*later]


def cost(passes):  # of what is computed, in tokens
    return sum(len(part) * max(map(size_of, part))[0] + PASS for part in passes)


def test_a_pass_has_no_more_tokens_than_the_planned_batch():
    chance = np.random.default_rng(1)
    longest = max(read for read, _ in SIZES), max(learned for _, learned in SIZES)
    for rows in (1, 2, 4):
        most = rows * longest[0], rows * longest[1]
        for _ in range(20):
            update = [example(*SIZES[row], source=3) for row in chance.choice(len(SIZES), 16, replace=False)]
            passes = micro_batches(update, most)
            assert sorted(map(size_of, update)) == sorted(size_of(e) for part in passes for e in part)
            for part in passes:
                sizes = [size_of(e) for e in part]
                assert len(part) * max(read for read, _ in sizes) <= most[0]
                assert len(part) * max(learned for _, learned in sizes) <= most[1]
            in_order = sorted(update, key=size_of, reverse=True)
            planned = [in_order[start : start + rows] for start in range(0, 16, rows)]
            assert cost(passes) <= cost(planned) and (rows > 1 or len(passes) < 16)


def test_no_way_to_cut_an_update_takes_less_time():
    chance = np.random.default_rng(2)
    most = (2500, 300)
    for _ in range(20):
        sizes = [(int(chance.integers(20, 1200)), int(chance.integers(5, 90))) for _ in range(6)]
        update = [example(*size, source=3) for size in sizes]
        in_order = sorted(map(size_of, update), reverse=True)
        costs = []
        for borders in product([False, True], repeat=len(update) - 1):
            ends = [i + 1 for i, border in enumerate([*borders, True]) if border]
            parts = [in_order[start:end] for start, end in zip([0, *ends], ends)]
            if all(len(p) == 1 or all(len(p) * max(n) <= m for n, m in zip(zip(*p), most)) for p in parts):
                costs.append(sum(len(part) * part[0][0] + PASS for part in parts))
        assert cost(micro_batches(update, most)) == min(costs)


def test_a_row_that_is_much_longer_does_not_make_the_others_as_long():
    passes = micro_batches([example(n, 3) for n in (300, 280, 290, 1100, 310, 270)], (10**5, 10**5))
    assert [[size_of(e)[0] for e in part] for part in passes] == [[1100], [310, 300, 290, 280, 270]]
    assert len(micro_batches([example(n, 3) for n in (60, 10, 20, 30)], (10**5, 10**5))) == 1


def test_where_nothing_is_padded_nothing_is_gained_by_another_pass():
    update = [example(n, 3) for n in (300, 1100, 310)]
    collator = UpdateCollator(len, (10**5, 10**5))
    assert collator(update)["passes"] == [1, 2]
    assert collator.with_collation(len, pads=False)(update)["passes"] == [3]
    collator.use_collation(len, pads=False)
    assert collator(update)["passes"] == [3]


def test_what_is_too_long_stands_alone_and_labels_count_without_the_prompt():
    assert size_of(example(9, 4, source=5)) == (9, 4)
    passes = micro_batches([example(10, 3), example(300, 3), example(12, 3)], (100, 50))
    assert [[size_of(e)[0] for e in part] for part in passes] == [[300], [12, 10]]
    passes = micro_batches([example(10, 30), example(10, 30)], (100, 50))
    assert len(passes) == 2
