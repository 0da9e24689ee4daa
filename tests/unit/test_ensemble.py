"Ensembles: the same choices as rouge_score's, votes that cannot be bought, p-values and intervals that hold, soups that are means"

import json
import random
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mecab import MeCab
from rouge_score.rouge_scorer import RougeScorer
from safetensors.torch import load_file, save_file
from support.ensemble import SAMPLE, null_pairs, oof, systems

from dialsum.ensemble import soup as soup_module
from dialsum.ensemble.assessment import alone, assess
from dialsum.ensemble.candidates import Candidate, Candidates, read_candidates
from dialsum.ensemble.mbr import (
    Standing,
    against,
    best_member,
    drop_weak,
    oracle,
    standing,
    take_consensus,
    utility,
    votes,
    weighted_avg,
)
from dialsum.ensemble.soup import make_soup
from dialsum.ensemble.stacking import Stacker
from dialsum.runs.errors import DialsumError
from dialsum.runs.files import to_json
from dialsum.scores import significance
from dialsum.scores.rouge import rouge
from dialsum.scores.scorer import ROUGE_TYPES
from dialsum.scores.significance import compare, holm_correction, randomization_test


def one_row(*pairs):
    return Candidates(("x",), ("",), (tuple(Candidate(m, t) for m, t in pairs),))


def above(scores, chance):
    "How members did whose texts score `chance` against the references of any other dialogue"
    values = {m: np.array(each) for m, each in scores.items()}
    return Standing(values, {m: np.full(len(each), chance) for m, each in values.items()})


def winner(c, *more, **options):
    return take_consensus(c, *more, **options)["summary"][0]


# ---- utility and minimum Bayes risk

ODD = [
    "",
    " ",
    "\n",
    "우산",
    "우산\0을 찾는다",
    "\ud800가",
    "#Person1#은 #Person1#은 #Person1#은",
    "email 3시 café ㅋㅋ 漢字",
]


@pytest.mark.parametrize(("tags", "weights"), [("split", None), ("split", "some"), ("whole", None)])
def test_choices_equal_those_of_pairwise_rouge_score(tags, weights):
    c = systems(SAMPLE.head(12), [0.1 + 0.05 * i for i in range(10)], seed=1)
    rng = random.Random(2)
    c = replace(
        c,
        table=tuple(
            tuple(x._replace(text=rng.choice(ODD)) if rng.random() < 0.1 else x for x in row)
            for row in c.table
        ),
    )
    weights = {m: 1 + i / 10 for i, m in enumerate(c.members)} if weights else None
    morphs = MeCab().morphs

    class Cut:
        @staticmethod
        def tokenize(text):
            text = text.translate({0: "\ufffd", 0xD800: "\ufffd"})
            if tags == "split":
                return morphs(text)
            return [
                t
                for i, part in enumerate(re.split(r"(#[A-Za-z]+\d*#)", text))
                for t in ([part] if i % 2 else morphs(part))
            ]

    scorer, expected = RougeScorer(ROUGE_TYPES, tokenizer=Cut()), []
    for row, found in zip(c.table, utility(c, tags=tags)):
        u = np.array(
            [
                [100 * np.mean([s.fmeasure for s in scorer.score(y.text, x.text).values()]) for y in row]
                for x in row
            ]
        )
        assert np.abs(u - found).max() < 1e-9
        vote = np.array(
            [(weights or dict.fromkeys(c.members, 1))[x.member] * bool(x.text.strip()) for x in row]
        )
        expected.append(row[int(np.argmax(np.where(vote > 0, np.round(u @ vote / vote.sum(), 9), -1)))].text)
    assert (
        list(take_consensus(c, weights, tags=tags)["summary"]) == expected
        and len(set(take_consensus(c)["member"])) > 3
    )


@pytest.mark.parametrize("cut", ["char", "word"])
def test_scores_against_references_are_those_of_rouge(cut):
    c = systems(SAMPLE, [0.1, 0.3], seed=3)  # of the last 16 rows each has three references
    found = np.array(against(c, SAMPLE["summaries"], tokenizer=cut))
    for i, _m in enumerate(c.members):
        assert (
            np.abs(
                found[:, i]
                - rouge([row[i].text for row in c.table], SAMPLE["summaries"], tokenizer=cut).per_dialogue[
                    :, 3
                ]
            ).max()
            < 1e-9
        )


def test_chrf_by_hand():
    u = utility(one_row(("a", "abcd"), ("b", "abce")), "chrf")[0]
    assert u[0, 1] == pytest.approx(100 * (3 / 4 + 2 / 3 + 1 / 2 + 0) / 4) and u[0, 0] == pytest.approx(100)
    u = utility(one_row(("a", "a b"), ("b", "abc")), "chrf")[
        0
    ]  # blanks do not count; orders that one text is too short for do not either
    precision, recall = 1, (2 / 3 + 1 / 2) / 2
    assert u[0, 1] == pytest.approx(100 * 5 * precision * recall / (4 * precision + recall)) and u[
        1, 0
    ] == pytest.approx(100 * 5 * recall * precision / (4 * recall + precision))


def test_ties_go_to_the_weightier_member_then_to_the_first():
    x, y = "우산을 두고 왔다.", "두고 왔다. 우산을"
    assert winner(one_row(("a", x), ("b", y))) == x and winner(one_row(("b", y), ("a", x))) == y
    assert (
        winner(one_row(("a", x), ("b", y)), dict(a=1, b=1.01)) == y
        and winner(one_row(("a", "우산"), ("b", "안경")), dict(a=1, b=2)) == "안경"
    )
    assert winner(one_row(("a", "우산"), ("b", "안경")), dict(a=0, b=0)) == "우산"


def test_empty_candidates_neither_vote_nor_win():
    assert (
        winner(one_row(("a", ""), ("b", " "), ("c", "우산"))) == "우산"
        and winner(one_row(("a", ""), ("b", " "))) == ""
    )
    assert winner(one_row(("a", "네"), ("b", "우산을 찾는다")), dict(a=0, b=0)) == "네"
    c = one_row(("a", ""), ("b", "우산을 찾는다"))
    assert (
        oracle(c, ["전혀 다른 글"])["member"][0] == "b"
        and best_member(c, above(dict(a=[2.0], b=[1.0]), 0.0))["summary"][0] == ""
    )


TEXTS = st.sampled_from(
    [
        "우산을 버스에 두고 왔다.",
        "버스에 우산을 두고 왔다.",
        "안경을 모레 찾으러 간다.",
        "모레 안경을 찾는다.",
        "우산과 안경을 찾는다.",
        "",
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcd"), st.lists(TEXTS, min_size=1, max_size=4), min_size=1),
    st.integers(2, 5),
    st.data(),
)
def test_a_member_gains_nothing_by_repeating_itself(written, times, data):
    again = data.draw(st.sampled_from(sorted(written)))
    once = one_row(*((m, t) for m, texts in written.items() for t in texts))
    more = one_row(*((m, t) for m, texts in written.items() for t in texts * (times if m == again else 1)))
    assert winner(once) == winner(more) and winner(once, kind="chrf") == winner(more, kind="chrf")


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from("abcd"), TEXTS, min_size=2), st.floats(0.01, 100))
def test_only_the_proportions_of_weights_count(written, factor):
    c, weights = one_row(*written.items()), {m: i + 1.0 for i, m in enumerate(written)}
    assert winner(c, weights) == winner(c, {m: w * factor for m, w in weights.items()})


def test_weights_and_names_are_checked():
    c = one_row(("a", "네"), ("b", "응"))
    for weights, told in (
        (dict(a=1), "weight of 'b' is None"),
        (dict(a=1, b=-1), "of 'b' is -1"),
        (dict(a=1, b=float("nan")), "'b' is nan"),
        (dict(a=1, b=1, bb=1), "unknown member 'bb'"),
    ):
        with pytest.raises(DialsumError, match=told):
            take_consensus(c, weights)
    with pytest.raises(DialsumError, match="unknown utility 'bleu'"):
        take_consensus(c, kind="bleu")
    with pytest.raises(DialsumError, match="unknown member 'x'"):
        c.of_members(["x"])
    with pytest.raises(DialsumError, match="1 dialogues but 2 references"):
        against(c, ["네", "응"])
    with pytest.raises(DialsumError, match="'b' has no candidate of 'y'"):
        Candidates(("x", "y"), ("", ""), (c.table[0], c.table[0][:1]))
    with pytest.raises(DialsumError, match="nothing to choose from"):
        Candidates((), (), ())


# ---- files


@pytest.fixture
def write(tmp_path):
    def write(name, **columns):
        pd.DataFrame(columns).to_csv(tmp_path / f"{name}.csv", index=False)
        return tmp_path / f"{name}.csv"

    return write


ROWS = pd.DataFrame(
    dict(fname=["d1", "d2", "d5"], dialogue=["#Person1#: 가", "#Person1#: 나", "#Person1#: 다"])
)


def test_files_meet_by_fname(write):
    a = write(
        "a", fname=["d5", "d1", "d2"], summary=["다", None, "나"], fold=[1, 0, 1], likelihood=[-0.5, -1, None]
    )
    b, b2 = (
        write("b", fname=ROWS["fname"], summary=["1", "2", "3"]),
        write("b2", fname=ROWS["fname"], summary=["4", "5", "6"]),
    )
    c = read_candidates(dict(a=a, b=[b, b2]), ROWS)
    assert (
        c.members == ("a", "b") and c.fnames == ("d1", "d2", "d5") and c.dialogues == tuple(ROWS["dialogue"])
    )
    assert (
        c.table[0] == (Candidate("a", "", -1.0, 0), Candidate("b", "1"), Candidate("b", "4"))
        and c.table[1][0] == ("a", "나", None, 1)
        and c.table[2][0].text == "다"
    )
    assert [x.member for x in c.of_members(["b"]).table[0]] == ["b", "b"]


def test_files_that_do_not_fit_are_refused(write):
    good = write("good", fname=ROWS["fname"], summary=["1", "2", "3"])
    for columns, told in (
        (dict(fname=["d1", "d2"], summary=["1", "2"]), r"^b: .* lacks 1 of the 3 .* \(d5\)"),
        (dict(fname=["d1", "d2", "d5", "d9"], summary=list("1234")), r"also has 1 .* \(d9\)"),
        (dict(fname=["d1", "d1", "d5"], summary=list("123")), "'d1' twice"),
        (dict(fname=ROWS["fname"], text=list("123")), "no column 'summary'"),
        (
            dict(fname=ROWS["fname"], summary=list("123"), fold=["0", "x", "1"]),
            "'fold' holds something that is no number",
        ),
    ):
        with pytest.raises(DialsumError, match=told):
            read_candidates(dict(a=good, b=write("bad", **columns)), ROWS)


# ---- where members stand


def test_weak_members_are_dropped_only_when_that_is_sure():
    c = systems(SAMPLE, [0.1, 0.15, 0.9], seed=4)
    s = standing(c, SAMPLE["summaries"])
    left, dropped = drop_weak(c, s)
    assert (
        left.members == ("m0", "m1")
        and list(dropped) == ["m2"]
        and f"m2 scores {s.means['m2']:.1f}" in str(dropped["m2"])
    )
    unlucky = above(dict(m0=[90.0, 10, 60, 20, 80], m1=[10.0, 80, 10, 15, 60], m2=[30.0] * 5), 20.0)
    assert drop_weak(c, unlucky)[1] == {} and votes(unlucky)["m1"] < 1
    assert drop_weak(c.of_members(["m2"]), s)[1] == {}  # whoever is best of those in the table stays
    with pytest.raises(DialsumError, match="unknown member 'm2'"):
        drop_weak(c, replace(s, scores={k: v for k, v in s.scores.items() if k != "m2"}))


def test_votes_are_what_stands_above_the_null_row():
    s = above(dict(a=[40.0, 50], b=[30.0, 40], c=[10.0, 20]), 25.0)
    assert (
        votes(s) == dict(a=1, b=0.5, c=0)
        and s.best == "a"
        and votes(above(dict(a=[10.0], b=[9.0]), 20.0)) == dict(a=1, b=1)
    )
    c = one_row(("a", "우산을 찾는다."), ("b", "안경을 고친다."), ("c", "안경을 고친다."))
    assert winner(c) == "안경을 고친다." and weighted_avg(c, s)["member"][0] == "a"
    empty = replace(s, nulls=s.nulls | dict(a=np.array([44.0, 46])))  # what it writes fits any dialogue
    assert votes(empty) == dict(a=0, b=1, c=0)


def test_stacking_learns_from_out_of_fold_predictions_only():
    rows = SAMPLE.head(24)
    c, folds = oof(rows, (0.1, 0.3), 6, k=3)
    seen = replace(
        c,
        table=tuple(tuple(x._replace(fold=None) if x.member == "m1" else x for x in row) for row in c.table),
    )
    with pytest.raises(DialsumError, match="of 'm1' for 'train_0' .* does not say which fold"):
        Stacker.fit(seen, rows["summaries"], folds)
    assert Stacker.fit(seen, rows["summaries"], folds, untrained=("m1",)).members == ("m0", "m1")
    wrong = replace(c, table=(tuple(x._replace(fold=9) for x in c.table[0]), *c.table[1:]))
    with pytest.raises(DialsumError, match="written by the model of fold 9"):
        Stacker.fit(wrong, rows["summaries"], folds)
    with pytest.raises(DialsumError, match="'train_0' is in no fold"):
        Stacker.fit(c, rows["summaries"], {})
    one = replace(c, table=tuple(tuple(x._replace(fold=0) for x in row) for row in c.table))
    with pytest.raises(DialsumError, match="all rows are in one fold"):
        Stacker.fit(one, rows["summaries"], dict.fromkeys(folds, 0))
    with pytest.raises(DialsumError, match="unknown member 'm2'"):
        Stacker.fit(c, rows["summaries"], folds).choose(systems(rows, (0.1, 0.2, 0.3), 7))


def test_stacking_is_deterministic_explains_itself_and_uses_likelihoods():
    rows = SAMPLE.head(40)
    c, folds = oof(rows, (0.1, 0.3), 8)
    a, b = (Stacker.fit(c, rows["summaries"], folds) for _ in range(2))
    assert (
        to_json(a.to_dict()) == to_json(b.to_dict())
        and a.choose(c).equals(b.choose(c))
        and json.loads(to_json(a.to_dict()))["rows"] == 40
    )
    score = against(c, rows["summaries"])
    told = replace(
        c,
        table=tuple(
            tuple(
                x._replace(likelihood=(5 if x.member == "m0" else 1) * v / 100 - 7) for x, v in zip(row, vs)
            )
            for row, vs in zip(c.table, score)
        ),
    )
    knows = Stacker.fit(told, rows["summaries"], folds)
    assert (
        a.coefficients["likelihood"] == 0
        and knows.coefficients["likelihood"] > 1
        and knows.checked.mean() > a.checked.mean()
    )
    assert knows.choose(c)["summary"].map(len).gt(0).all()  # likelihoods may be missing later


def test_stacking_takes_samples_and_gaps():
    rows = SAMPLE.head(40)
    c, folds = oof(rows, (0.1, 0.3), 9)
    several = replace(
        c,
        table=tuple(
            (*row, row[1]._replace(text=row[0].text[:20]), row[1]._replace(text="")) for row in c.table
        ),
    )
    several = replace(
        several, table=(tuple(x._replace(text="") for x in several.table[0]), *several.table[1:])
    )
    chosen = Stacker.fit(several, rows["summaries"], folds).choose(several)
    assert chosen["summary"][0] == "" and chosen["summary"][1:].map(len).gt(0).all()


def test_p_values_of_a_true_null_are_uniform(monkeypatch):
    monkeypatch.setattr(significance, "SWAPS", 2000)
    rng = np.random.default_rng(11)
    p = np.sort(
        [
            randomization_test((lambda a, b: (b - a)[:, None])(*null_pairs(rng)), seed)[0]
            for seed in range(200)
        ]
    )
    apart = max(np.max(np.arange(1, 201) / 200 - p), np.max(p - np.arange(200) / 200))  # Kolmogorov-Smirnov
    assert apart < 1.36 / 200**0.5, apart  # 5 % level
    assert 0.01 <= np.mean(p <= 0.05) <= 0.09


def test_comparison_is_paired_corrected_and_deterministic():
    rng = np.random.default_rng(13)
    hard = rng.normal(0, 20, 150)
    scores = dict(
        best=50 + hard + rng.normal(0, 3, 150),
        equal=50 + hard + rng.normal(0, 3, 150),
        better=52 + hard + rng.normal(0, 3, 150),
    )
    found = compare(scores, "best").set_index("system")
    assert (
        found.loc["better", "p_holm"] < 0.01 < 0.05 < found.loc["equal", "p"]
        and found.loc["better", "difference_low"] > 0
    )  # although the means' intervals overlap widely
    assert found.loc["best", "low"] < found.loc["better", "low"] < found.loc["best", "high"]
    swapped = compare({k: scores[k] for k in ("better", "equal", "best")}, "best").set_index("system")
    assert swapped.loc[found.index].equals(found)
    difference = scores["better"] - scores["best"]
    assert abs(difference.mean() / (difference.std() / 150**0.5)) > 4
    assert (
        found.loc[["equal", "better"], "p_holm"] >= found.loc[["equal", "better"], "p"]
    ).all() and compare(dict(a=[1.0, 2]), "a")["mean"][0] == 1.5
    with pytest.raises(DialsumError, match="unknown system 'x'"):
        compare(scores, "x")
    with pytest.raises(DialsumError, match=r"'short' has scores of shape \(3,\)"):
        compare(scores | dict(short=[1, 2, 3]), "best")


def test_holm_by_hand():
    assert holm_correction([0.01, 0.04, 0.03, 0.005]) == pytest.approx(
        [0.03, 0.06, 0.06, 0.02]
    ) and holm_correction([0.6, 0.7]) == [1, 1]


def test_facts_are_whole(tmp_path):
    rows = SAMPLE[64:].reset_index(drop=True)
    c = systems(rows, (0.1, 0.2, 0.3), 14)
    own = pd.DataFrame(
        dict(fname=c.fnames, summary=[x[0].text for x in systems(rows, (0.05,), 15).table])
    )  # a soup is a model of its own
    facts = assess(c, rows["summaries"], dict(mbr=take_consensus(c), soup=own), "m0")
    assert to_json(facts) == to_json(
        assess(c, rows["summaries"], dict(mbr=take_consensus(c), soup=own), "m0")
    ) and to_json(facts) == to_json(json.loads(to_json(facts)))
    for kind, m in facts["metrics"].items():
        assert (
            [r["system"] for r in m["systems"]] == ["best", "mbr", "soup"]
            and m["systems"][0]["mean"] == pytest.approx(m["members"]["m0"])
            and "p" not in m["systems"][0]
        )
        assert (
            m["oracle"] > m["members"]["m0"] > m["mean_single"]
            and m["was_utility"] == (kind == "rouge")
            and 0 < m["systems"][1]["p"] <= m["systems"][1]["p_holm"] <= 1
        )
    assert facts["metrics"]["rouge"]["systems"][2]["mean"] == pytest.approx(
        rouge(list(own["summary"]), rows["summaries"]).rows["score"]["mean"].f
    )
    assert facts["metrics"]["rouge"]["oracle"] == pytest.approx(
        rouge(list(oracle(c, rows["summaries"])["summary"]), rows["summaries"]).rows["score"]["mean"].f
    )
    with pytest.raises(DialsumError, match="mbr: its 31 rows are not the table's 32"):
        assess(c, rows["summaries"], dict(mbr=take_consensus(c)[1:]), "m0")


def test_one_candidate_left_is_said_and_goes_on():
    c = systems(SAMPLE.head(20), (0.1, 0.9), 16)
    left, dropped = drop_weak(c, standing(c, SAMPLE["summaries"][:20]))
    assert "only 'm0' is left, with one candidate a dialogue (m1 scores" in str(
        alone(left, dropped)
    ) and list(take_consensus(left)["summary"]) == [r[0].text for r in c.table]
    assert (
        alone(c) is None
        and alone(one_row(("a", "네"), ("a", "응"))) is None
        and "say the same" in str(alone(one_row(("a", "네"), ("b", "네"), ("c", ""))))
        and "only" in str(alone(one_row(("a", ""))))
    )


# ---- soup


def model(folder, tensors, config=None, shards=1, **about):
    if config is None:
        config = {}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(dict(model_type="toy", hidden=64) | config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"never copied")
    if about:
        (folder / "dialsum.json").write_text(json.dumps(about))
    names = sorted(tensors)
    files = {
        f"model-{i + 1:05}-of-{shards:05}.safetensors" if shards > 1 else "model.safetensors": names[
            i::shards
        ]
        for i in range(shards)
    }
    for file, some in files.items():
        save_file({n: tensors[n] for n in some}, folder / file, metadata={"format": "pt"})
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(
            json.dumps(dict(metadata={}, weight_map={n: f for f, some in files.items() for n in some}))
        )
    return folder


def tensors(seed, start=0, **more):
    base, own = torch.Generator().manual_seed(start), torch.Generator().manual_seed(100 + seed)

    def t(*shape, dtype=torch.float32):
        return (torch.randn(shape, generator=base) + 0.1 * torch.randn(shape, generator=own)).to(dtype)

    return (
        dict(
            w=t(64, 48),
            half=t(33, 40, dtype=torch.float16),
            brain=t(64, 64, dtype=torch.bfloat16),
            bias=t(64),
            scalar=t(),
            double=t(5, dtype=torch.float64),
            ids=torch.arange(9),
            none=torch.zeros(0, 4),
        )
        | more
    )


@pytest.mark.parametrize("shards", [(1, 1, 1), (3, 1, 2)])
def test_a_soup_is_the_mean(tmp_path, shards):
    made = [tensors(i) for i in range(3)]
    folders = [
        model(tmp_path / f"m{i}", t, shards=n, card="toy") for i, (t, n) in enumerate(zip(made, shards))
    ]
    out = make_soup(folders, tmp_path / "deep" / "soup", [1, 2, 1])
    found = {k: v for f in out.glob("*.safetensors") for k, v in load_file(f).items()}
    assert (
        set(found) == set(made[0])
        and len(list(out.glob("*.safetensors"))) == shards[0]
        and not list(tmp_path.glob("deep/.*"))
    )
    for name, t in found.items():
        wide = torch.float64 if t.dtype == torch.float64 else torch.float32
        expected = (
            made[0][name]
            if name == "ids"
            else sum(w * m[name].to(wide) for w, m in zip((0.25, 0.5, 0.25), made)).to(t.dtype)
        )
        assert (
            t.dtype == made[0][name].dtype and t.shape == made[0][name].shape and torch.equal(t, expected)
        ), name
    about = json.loads((out / "dialsum.json").read_text())
    assert (
        about["card"] == "toy"
        and list(about["soup"].values()) == [0.25, 0.5, 0.25]
        and (out / "tokenizer.json").is_file()
        and not (out / "pytorch_model.bin").exists()
    )
    assert (make_soup(folders[:2], out) / "config.json").is_file() and len(
        json.loads((out / "dialsum.json").read_text())["soup"]
    ) == 2  # an older soup is replaced


def test_what_is_no_soup_is_refused(tmp_path):
    a = model(tmp_path / "a", tensors(0), card="kobart", scale="full")
    cases = dict(
        config=(tensors(1), dict(hidden=32), {}, "hidden is 32, not 64"),
        card=(
            tensors(1),
            {},
            dict(card="other", scale="full"),
            "dialsum.json: card is 'other', not 'kobart'",
        ),
        start=(
            tensors(1, start=5),
            {},
            {},
            r"did not start from the same weights .* cosine of (w|half|brain) is -?0\.0",
        ),
        shape=(tensors(1, w=torch.zeros(64, 40)), {}, {}, "w has shape"),
        dtype=(tensors(1, w=tensors(1)["w"].half()), {}, {}, "w has dtype F32 in"),
        more=(tensors(1, new=torch.zeros(1)), {}, {}, "only one of .* has the tensor new"),
        ints=(tensors(1, ids=torch.arange(9) + 1), {}, {}, "quantized weights have no mean"),
        nan=(tensors(1, bias=torch.full((64,), float("nan"))), {}, {}, "bias holds NaN"),
    )
    for name, (its, config, about, told) in cases.items():
        b = model(tmp_path / name, its, config, **(about or dict(card="kobart", scale="full")))
        with pytest.raises(DialsumError, match=told):
            make_soup([a, b], tmp_path / "out")
        assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*")), name
    pickled = model(tmp_path / "pickled", tensors(1))
    (pickled / "model.safetensors").unlink()
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    save_file(dict(x=torch.zeros(1)), adapter / "adapter_model.safetensors")
    torn = model(tmp_path / "torn", tensors(1), shards=2, card="kobart", scale="full")
    (torn / "model-00002-of-00002.safetensors").unlink()
    cut = model(tmp_path / "cut", tensors(1), card="kobart", scale="full")
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:-7])
    for folders, told in (
        ([a, pickled], "holds no model.safetensors"),
        ([a, adapter], "whole models or of adapters"),
        ([a, torn], "lacks model-00002-of-00002"),
        ([a, cut], "its header says"),
        ([a], "at least two"),
        ([a, tmp_path], "neither config.json nor"),
    ):
        with pytest.raises(DialsumError, match=told):
            make_soup(folders, tmp_path / "out")
    for weights in ([1], [1, 0], [1, float("inf")]):
        with pytest.raises(DialsumError, match="one number above 0"):
            make_soup([a, a], tmp_path / "out", weights)
    with pytest.raises(DialsumError, match="one of the soup's checkpoints"):
        make_soup([a, torn], a)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("x")
    with pytest.raises(DialsumError, match="is no checkpoint of dialsum"):
        make_soup([a, a], mine)
    assert (mine / "thesis.txt").is_file() and (a / "model.safetensors").is_file()


def test_a_soup_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    folders = [model(tmp_path / f"m{i}", tensors(i)) for i in range(2)]
    out = make_soup(folders, tmp_path / "soup")
    before = (out / "model.safetensors").read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(soup_module, "_write_mean", full)
    with pytest.raises(OSError, match="No space left"):
        make_soup(folders, out, [1, 9])
    assert (out / "model.safetensors").read_bytes() == before and sorted(
        p.name for p in tmp_path.iterdir()
    ) == ["m0", "m1", "soup"]


def test_a_soup_of_adapters_adds_the_mean_of_what_they_add(tmp_path):
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    def base():
        torch.manual_seed(0)
        return LlamaForCausalLM(
            LlamaConfig(
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=4,
                vocab_size=96,
            )
        )

    base().save_pretrained(tmp_path / "base")
    folders = []
    for i in range(3):
        from_base = LlamaForCausalLM.from_pretrained(tmp_path / "base")
        tuned = get_peft_model(
            from_base,
            LoraConfig(
                r=4,
                lora_alpha=8,
                target_modules=["v_proj", "q_proj"],
                task_type="CAUSAL_LM",
                trainable_token_indices={"embed_tokens": [7]},
            ),
        )
        torch.manual_seed(i)
        for _n, p in tuned.named_parameters():
            if p.requires_grad:
                torch.nn.init.normal_(p, std=0.2)
        folders.append(tmp_path / f"a{i}")
        tuned.save_pretrained(folders[-1], save_embedding_layers=False)
    weights = [0.5, 0.25, 0.25]
    out = make_soup(folders, tmp_path / "soup", weights)
    merged = [
        PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(tmp_path / "base"), f)
        .merge_and_unload()
        .state_dict()
        for f in (*folders, out)
    ]
    moved = 0
    for name, mean in merged[-1].items():
        expected = sum(w * m[name] for w, m in zip(weights, merged))
        assert torch.allclose(mean, expected, atol=1e-5), name
        moved += not torch.allclose(mean, merged[0][name], atol=1e-3)
    assert moved >= 4 and json.loads((out / "adapter_config.json").read_text())["r"] == 12
    config = json.loads((folders[1] / "adapter_config.json").read_text())
    for change, told in (
        (dict(base_model_name_or_path="elsewhere"), "base_model_name_or_path"),
        (dict(r=8), ": r is 8, not 4"),
    ):
        (folders[1] / "adapter_config.json").write_text(json.dumps(config | change))
        with pytest.raises(DialsumError, match=told):
            make_soup(folders, tmp_path / "out")
    for f in folders:
        (f / "adapter_config.json").write_text(json.dumps(config | dict(use_dora=True)))
    with pytest.raises(DialsumError, match="use_dora True: only plain LoRA"):
        make_soup(folders, tmp_path / "out")
    assert not (tmp_path / "out").exists()
