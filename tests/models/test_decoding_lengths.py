"Limits in tokens: what nobody gives follows from the references, in a model's own tokens, within its positions"

import pandas as pd
import pytest

from dialsum.data.dialogues import read
from dialsum.models.cards import CARDS, card
from dialsum.models.lengths import cut_shares, known_lengths, needed_lengths, sample_lengths
from dialsum.models.loading import load_tokenizer
from dialsum.models.prompts import Codec
from dialsum.models.replicas import replica
from dialsum.runs.errors import DialsumError
from dialsum.runs.places import sample_path


def codec_of(name):
    return Codec(card(name), load_tokenizer(card(name), str(replica(card(name)))))


def spelled(words, rows=100):
    "Rows whose references have so many tokens in the tokenizers of the replicas: each letter is one that they spell by bytes"
    rare = "뷁쀍쮋"
    return pd.DataFrame(
        dict(
            fname=[str(i) for i in range(rows)],
            dialogue=["#Person1#: 안녕."] * rows,
            summaries=[((rare * words)[:words],) for _ in range(rows)],
        )
    )


@pytest.mark.parametrize("name", CARDS)
def test_limits_follow_from_the_references_in_the_models_own_tokens(name):
    codec, rows = codec_of(name), spelled(60)
    found = needed_lengths(codec, rows)
    longest = len(codec.target(rows["summaries"][0][0]))
    assert (
        longest > 100
        and found.max_target >= longest
        and found.max_new_tokens >= longest * 1.25
        and found.measured == "training"
    )
    shares = cut_shares(codec, rows, found.max_source, found.max_target, found.max_new_tokens)
    assert shares == dict(rows=100, dialogues=0, learned=0, written=0)
    assert cut_shares(codec, rows, found.max_source, 100, 100) == dict(
        rows=100, dialogues=0, learned=1, written=1
    )
    positions = codec.card.config["max_position_embeddings"]
    assert (
        found.max_source + (0 if codec.card.seq2seq else max(found.max_target, found.max_new_tokens))
        <= positions
    )
    given = needed_lengths(codec, rows, max_source=500, max_target=40, max_new_tokens=30)
    assert (given.max_source, given.max_target, given.max_new_tokens, given.measured) == (500, 40, 30, "")


def test_one_odd_reference_is_learned_whole_and_does_not_make_the_others_wait():
    codec = codec_of("qwen3-4b")
    rows = pd.concat([spelled(10, 199), spelled(200, 1)], ignore_index=True)
    found = needed_lengths(codec, rows)
    assert found.max_target >= len(codec.target(rows["summaries"].iloc[-1][0])) > 3 * found.max_new_tokens


@pytest.mark.parametrize("name", CARDS)
def test_limits_of_short_references_can_be_asked_for_again(name):
    "A stage is given what was resolved before: that is no limit that leaves too little"
    from dataclasses import asdict

    codec, rows = codec_of(name), spelled(2)
    found = needed_lengths(codec, rows)
    used = known_lengths(codec, asdict(found))
    again = known_lengths(
        codec, asdict(found), max_source=used.max_source, max_new_tokens=used.max_new_tokens
    )
    assert (again.max_source, again.max_new_tokens) == (used.max_source, used.max_new_tokens)


def test_a_share_is_counted():
    codec = codec_of("solar")
    rows = pd.concat([spelled(10, 75), spelled(60, 25)], ignore_index=True)
    assert (
        cut_shares(codec, rows, 1024, 256, 100)["written"] == 0.25
        and cut_shares(codec, rows, 40, 256, 100)["dialogues"] == 1
    )
    assert cut_shares(codec, rows.drop(columns="summaries"), 1024, 256, 100) == dict(
        rows=100, dialogues=0, learned=0, written=0
    )
    assert cut_shares(codec, rows, 1024, 256, 100, sample_size=50)["rows"] == 50


def test_a_checkpoint_from_elsewhere_is_used_with_the_samples_lengths():
    codec = codec_of("solar")
    assert known_lengths(codec, {}).measured == "sample" and known_lengths(codec, {}).max_new_tokens >= 100
    longest = max(
        len(codec.target(s[0])) for s in read(sample_path() / "train.csv", summaries=True)["summaries"]
    )
    assert sample_lengths(codec).max_new_tokens >= longest


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        (
            "kobart",
            dict(max_target=2000),
            "max_target is 2000, kobart has 1026 positions for what it writes: take max_target of at most 1026",
        ),
        ("kobart", dict(max_new_tokens=1500), "take max_new_tokens of at most 1026"),
        (
            "solar",
            dict(max_source=4000, max_new_tokens=100),
            r"take max_source \+ max_new_tokens of at most 4096",
        ),
        ("polyglot", dict(max_target=2048), r"take max_source \+ max_target of at most 2048"),
    ],
)
def test_lengths_beyond_the_positions_are_refused(name, options, words):
    with pytest.raises(DialsumError, match=words):
        needed_lengths(codec_of(name), spelled(4), **options)


@pytest.mark.parametrize(
    ("name", "options", "where"),
    [
        ("kobart", dict(max_target=2000), "max_target"),
        ("kobart", dict(max_new_tokens=1500), "max_new_tokens"),
        ("solar", dict(max_source=4000, max_target=256), "max_source, max_target"),
        ("solar", dict(max_source=4096), "max_source"),
        ("polyglot", dict(max_source=2000, max_new_tokens=100), "max_source, max_new_tokens"),
    ],
)
def test_the_preflight_refuses_lengths_beyond_the_positions(name, options, where):
    from support.experiments import is_korean

    from dialsum.checks.options import check_options

    found = [f for f in check_options(card(name), "replica", options) if f.severity == "error"]
    assert next(f.where for f in found if "positions" in f.what).startswith(where.split(",")[0]), found
    assert all(is_korean(f, "what", "remedy") for f in found)
    assert (" + " in found[0].remedy) == ("positions for both" in found[0].what)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kobart", dict(max_source=1024, max_target=1026, max_new_tokens=1026)),
        ("kobart", dict(max_source=1000, max_target=500)),
        ("solar", dict(max_source=3840, max_target=256)),
        ("solar", {}),
    ],
)
def test_the_preflight_lets_through_what_the_positions_hold(name, options):
    from dialsum.checks.options import check_options

    assert check_options(card(name), "replica", options) == []


def test_every_position_of_an_encoder_decoder_can_be_learned_and_written():
    import torch

    from dialsum.generation.decoding import Decoding
    from dialsum.generation.predictor import Predictor
    from dialsum.models.loading import load
    from dialsum.models.prompts import training_row

    loaded = load(card("kobart"), str(replica(card("kobart"))))
    codec = Codec(card("kobart"), loaded.tokenizer)
    row = training_row(codec, "#Person1#: 안녕.", "뷁" * 2000, 1026)
    assert len(row["labels"]) == 1026
    with torch.inference_mode():
        assert loaded.model(**{k: torch.tensor([v]) for k, v in row.items()}).loss.isfinite()
        with pytest.raises(IndexError):
            loaded.model(
                **{
                    k: torch.tensor([v])
                    for k, v in training_row(codec, "#Person1#: 안녕.", "뷁" * 2000, 1027).items()
                }
            )
    predictor = Predictor(loaded, decoding=Decoding(max_new_tokens=1026, min_new_tokens=1026))
    predictor.predict_single("#Person1#: 안녕.")
    assert predictor.reached == [True]
    with pytest.raises(DialsumError, match="1026 positions"):
        predictor.predict_single("#Person1#: 안녕.", max_new_tokens=1027)


@pytest.mark.parametrize(
    ("settings", "advised"),
    [
        (dict(length_ratio=0.5, max_new_tokens=100, reached=49), True),
        (dict(length_ratio=0.95, max_new_tokens=99, reached=0), False),
        (dict(length_ratio=0.5, max_new_tokens=100, reached=0), False),
    ],
)
def test_more_tokens_are_advised_where_summaries_took_all_that_they_might_have(settings, advised):
    from dialsum.report.verdicts import advise
    from dialsum.scores.metrics import FaultCounts

    faulty = FaultCounts.of(rows=50, kinds=dict(cut=dict(count=49, references=0)))
    told = [
        a.action
        for a, _ in advise(
            {"KoBART": []}, {"KoBART": faulty}, {"KoBART": settings | dict(whole_sentences="on")}
        )
    ]
    assert any("--max-new-tokens" in what for what in told) == advised


def test_a_trained_folder_tells_its_limits_to_whoever_uses_it(tmp_path):
    from dataclasses import asdict

    from dialsum.generation.decoding import Decoding, with_lengths
    from dialsum.generation.factory import engine
    from dialsum.generation.predictor import Predictor
    from dialsum.models.loading import load
    from dialsum.training.saves import save

    loaded = load(card("solar"), str(replica(card("solar"))))
    assert Predictor(loaded).limits.measured == "sample" and Predictor(loaded).decoding.max_new_tokens >= 100
    limits = needed_lengths(Codec(card("solar"), loaded.tokenizer), spelled(60))
    loaded.lengths = asdict(limits)
    again = load(card("solar"), str(save(loaded, tmp_path / "model", method="full", scale="replica")))
    assert (
        again.lengths == asdict(limits)
        and Predictor(again).limits == limits
        and Predictor(again).decoding.max_new_tokens == limits.max_new_tokens > 100
    )
    assert with_lengths(card("solar"), str(tmp_path / "model"), Decoding())[1] == limits
    assert (
        engine("hf", card("solar"), str(tmp_path / "model"), 2, loading=dict(device="cpu")).limits == limits
    )
    assert Predictor(again, decoding=Decoding(max_new_tokens=7)).decoding.max_new_tokens == 7
    assert Predictor(again, max_source=4000).decoding.max_new_tokens == 96  # what the positions leave


@pytest.mark.parametrize("name", CARDS)
def test_a_limit_that_nobody_gave_makes_room_for_the_least_that_was_asked(name):
    from dataclasses import asdict

    codec = codec_of(name)
    noted = asdict(needed_lengths(codec, spelled(4)))
    positions = codec.card.config["max_position_embeddings"]
    for least in (noted["max_new_tokens"] + 1, 200, 900):
        for given in (noted, {}):
            known = known_lengths(codec, given, min_new_tokens=least)
            assert (
                least < known.max_new_tokens <= positions
                and known.max_source + (0 if codec.card.seq2seq else known.max_new_tokens) <= positions
            )
    assert known_lengths(codec, noted, min_new_tokens=noted["max_new_tokens"]) == known_lengths(codec, noted)
    assert known_lengths(codec, noted, max_new_tokens=300, min_new_tokens=300).max_new_tokens == 300
    with pytest.raises(DialsumError, match="min_new_tokens"):
        known_lengths(codec, noted, min_new_tokens=positions + 1)


def test_summaries_of_at_least_so_many_tokens_need_no_other_option(tmp_path):
    "In the preflight at full size, and by what was trained on short references"
    from dataclasses import asdict

    from dialsum.checks.options import check_options
    from dialsum.checks.outlook import limited, limits_here
    from dialsum.checks.room import check_memory
    from dialsum.generation.decoding import Decoding
    from dialsum.generation.predictor import Predictor
    from dialsum.models.loading import load
    from dialsum.models.row_lengths import longest_rows

    codec, rows = codec_of("kobart"), spelled(4)
    options = dict(min_new_tokens=200)
    limits = limits_here(codec, options, rows)
    assert limits.max_new_tokens >= 200 and limits.max_target < 100
    sized = limited(codec.card, options, longest_rows(codec, rows), limits)
    assert (
        check_options(codec.card, "full", sized) == []
        and check_memory(codec.card, "full", sized, available=2**40) == []
    )
    loaded = load(card("kobart"), str(replica(card("kobart"))))
    loaded.lengths = asdict(needed_lengths(codec, rows))
    predictor = Predictor(loaded, decoding=Decoding(min_new_tokens=120))
    predictor.predict_single("#Person1#: 안녕.")
    assert predictor.decoding.max_new_tokens >= 120 > loaded.lengths["max_new_tokens"]
