"Memory by the rows at hand, by what the machine gives, and after it was not enough"

import re

import pytest
import torch

from dialsum.models.cards import card
from dialsum.models.loading import load
from dialsum.models.out_of_memory import within_memory
from dialsum.models.replicas import replica
from dialsum.pipeline import devices

EXHAUSTED = [  # how libraries say that a device has no memory left
    torch.OutOfMemoryError("Allocation on device 0 would exceed allowed memory."),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError(
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call"
    ),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8589934592 bytes."
    ),
    RuntimeError("std::bad_alloc"),
    MemoryError(),
]


@pytest.mark.parametrize("error", EXHAUSTED, ids=lambda e: str(e)[:40] or type(e).__name__)
def test_training_tries_again_with_less_after_each_way_to_say_that_memory_ran_out(error):
    tried = []

    def train(batch, accumulation):
        tried.append((batch, accumulation))
        if batch > 2:
            raise error
        return "done"

    assert within_memory(train, 8, 1) == "done"
    assert tried == [(8, 1), (4, 2), (2, 4)]


@pytest.mark.parametrize(
    "error", [EXHAUSTED[2], EXHAUSTED[3], MemoryError()], ids=["cuda", "cublas", "python"]
)
def test_writing_goes_on_with_half_as_many_after_the_same_errors(error, capsys):
    from dialsum.generation.decoding import Decoding
    from dialsum.generation.predictor import Predictor

    c = card("kobart")
    loaded = load(c, str(replica(c)))
    texts = [f"#Person1#: {n}시에 만나요.\n#Person2#: 네, 좋아요." for n in range(1, 6)]
    alone = Predictor(loaded, 1, 128, Decoding(max_new_tokens=4)).predict_batch(texts)
    generate = loaded.model.generate

    def small(input_ids, **more):
        if len(input_ids) > 2:
            raise error
        return generate(input_ids=input_ids, **more)

    loaded.model.generate = small
    predictor = Predictor(loaded, 5, 128, Decoding(max_new_tokens=4))
    assert predictor.predict_batch(texts) == alone and predictor.batch_size == 2
    assert "dialogues at once from here on" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seen", "workers", "scale", "count"),
    [
        ("0", 3, "full", 1),
        ("0,1", 3, "full", 2),
        ("0,1", 2, "full", 2),
        ("GPU-a,GPU-b", 4, "full", 2),
        ("0", 1, "full", 1),
        ("", 3, "full", 3),
        ("-1", 2, "full", 2),
        ("0", 2, "replica", 2),
        ("0,-1,1", 2, "full", 1),
    ],
)
def test_more_stages_than_gpus_wait_for_their_turn(seen, workers, scale, count, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    at_once, why = devices.at_once(workers, scale)
    assert at_once == count and bool(why) == (count < workers)
    if why:
        assert f"--workers {workers}" in why and why.endswith(".") and "\n" not in why


def many(rows, count, seed=0):
    "So many rows, each of some turns of some of the sample's"
    import random

    import pandas as pd

    rng = random.Random(seed)
    turns = [turn for text in rows["dialogue"] for turn in text.split("\n")]
    told = [s[0] for s in rows["summaries"]]
    made = [
        dict(
            fname=f"r{i}",
            dialogue="\n".join(rng.choices(turns, k=rng.randint(2, 14))),
            summaries=(rng.choice(told),),
            topic="",
        )
        for i in range(count)
    ]
    return pd.DataFrame(made)


@pytest.fixture(scope="module")
def sample():
    from dialsum.data.dialogues import read
    from dialsum.runs.places import sample_path

    return read(sample_path() / "train.csv", summaries=True)


@pytest.mark.parametrize(
    "name", ["kobart", "llama-3.2-korean-3b", "qwen3-4b", "solar-10.7b", "polyglot-ko-12.8b", "kullm-v2"]
)
def test_no_row_is_longer_than_its_bound_and_short_ones_are_not_counted(name, sample):
    from dialsum.models.loading import load_tokenizer
    from dialsum.models.prompts import Codec, training_row
    from dialsum.models.row_lengths import GRAIN, longest_rows

    c = card(name)
    rows = many(sample, 400)
    rows.at[7, "dialogue"], rows.at[7, "summaries"] = "#Person1#: 네.", ("답한다.",)
    codec = Codec(c, load_tokenizer(c, str(replica(c))), 1024)
    calls, count = [], codec.tokens
    codec.tokens = lambda text: calls.append(text) or count(text)
    bound = longest_rows(codec, rows)
    assert len(calls) == len(set(calls)) + calls.count("가") - 1 and len(calls) < 2 * len(rows)
    assert "#Person1#: 네." not in calls  # it cannot be the longest, however dense
    made = [training_row(codec, d, s[0], 512) for d, s in zip(rows["dialogue"], rows["summaries"])]
    target = max(sum(label >= 0 for label in e["labels"]) for e in made)
    source = max(
        len(e["input_ids"]) if c.seq2seq else len(e["input_ids"]) - sum(label >= 0 for label in e["labels"])
        for e in made
    )
    row = max(len(e["input_ids"]) + (len(e["labels"]) if c.seq2seq else 0) for e in made)
    for true, held in ((source, bound.source), (target, bound.target), (row, bound.row)):
        assert true <= held <= 1.25 * true + 2 * GRAIN, (true, bound)


def test_a_bound_holds_where_the_densest_row_is_not_the_longest(sample):
    from dialsum.models.loading import load_tokenizer
    from dialsum.models.prompts import Codec
    from dialsum.models.row_lengths import longest_rows

    c = card("kobart")
    codec = Codec(c, load_tokenizer(c, str(replica(c))), 1024)
    rows = many(sample, 300)
    rows.loc[rows.index % 3 == 0, "dialogue"] = [
        f"#Person1#: {'뷁' * (i % 90 + 10)}" for i in range(100)
    ]  # three bytes, three tokens a letter
    true = max(len(codec.source(text)) for text in rows["dialogue"])
    assert true <= longest_rows(codec, rows).source


@pytest.mark.parametrize("name", ["solar-10.7b", "kobart", "qwen3-4b"])
@pytest.mark.parametrize("place", [3, 200, 396])
def test_one_dense_row_among_many_is_in_the_bound(name, place, sample):
    from dialsum.models.loading import load_tokenizer
    from dialsum.models.prompts import Codec
    from dialsum.models.row_lengths import GRAIN, longest_rows

    c = card(name)
    codec = Codec(c, load_tokenizer(c, str(replica(c))), 1024)
    rows = many(sample, 400)
    rows.loc[place, "dialogue"] = "#Person1#: " + "뷁" * 240  # letters that have no token of their own
    true = max(codec.length(text) for text in rows["dialogue"])
    assert codec.length(rows["dialogue"][place]) == true
    assert true <= longest_rows(codec, rows).source <= true + 2 * GRAIN


def test_rows_without_summaries_and_no_rows(sample):
    from dialsum.models.loading import load_tokenizer
    from dialsum.models.prompts import Codec
    from dialsum.models.row_lengths import longest_rows

    c = card("qwen3-4b")
    codec = Codec(c, load_tokenizer(c, str(replica(c))), 1024)
    assert longest_rows(codec, sample.head(0)) is None
    tested = longest_rows(codec, sample.assign(summaries=[()] * len(sample)))
    assert tested.target == 0 and tested.source == longest_rows(codec, sample).source


def room_between(name, rows, options):
    "Bytes in which the rows at hand fit, and rows as long as allowed do not"
    from dialsum.training.recipe import lengths_here, memory_needed, requested_training

    c = card(name)
    r, how = requested_training(c, "full", options)
    lengths = lengths_here(c, "full", options, str(replica(c)), rows)
    short, long = memory_needed(c, r, how, lengths).total, memory_needed(c, r, how).total
    assert short < 0.8 * long
    return int((short + long) / 2)


@pytest.mark.parametrize("name", ["kobart", "qwen3-4b"])
def test_what_fits_with_the_rows_at_hand_is_not_refused(name, sample, tmp_path, monkeypatch):
    import dialsum.checks.preflight
    import dialsum.training.trainer
    from dialsum.checks.preflight import preflight
    from dialsum.checks.room import check_memory

    options = dict(batch_size=8)
    room = room_between(name, sample, options)
    monkeypatch.setattr(dialsum.checks.room, "memory_of_process", lambda *device: room)
    monkeypatch.setattr(dialsum.training.recipe, "available_memory", lambda *device: room)
    told = preflight([name], "full", options, {name: str(replica(card(name)))}, tmp_path)
    assert told.ok(), told
    from support.experiments import is_korean

    [refused] = [f for f in check_memory(card(name), "full", options, room) if f.severity == "error"]
    lengths = told.outlooks[name].lengths
    [tight] = [
        f for f in check_memory(card(name), "full", options, room // 4, lengths) if f.severity == "error"
    ]
    [planned] = [f for f in check_memory(card(name), "full", {}, room // 4, lengths) if f.where == "memory"]
    assert "(the longest of the data)" in tight.what + planned.what or "does not fit" in tight.what
    assert all(is_korean(f, "what") for f in (refused, tight, planned)), (tight, planned)
    assert (
        "1,280 tokens" if name == "qwen3-4b" else "1,024 and 256 tokens"
    ) in refused.what  # without data the most that is allowed


def test_a_training_plans_with_the_lengths_that_the_preflight_used(sample, tmp_path):
    import json

    from dialsum.checks.preflight import preflight
    from dialsum.runs.checkout import nbs_path
    from dialsum.training.recipe import lengths_here

    where = str(replica(card("kobart")))
    told = preflight(["kobart"], "full", {}, {"kobart": where}, tmp_path)
    lengths = lengths_here(card("kobart"), "full", {}, where, sample)
    assert (
        lengths
        and lengths == told.outlooks["kobart"].lengths
        and lengths_here(card("kobart"), "replica", {}, where, sample) is None
    )
    cells = [
        "".join(c["source"])
        for c in json.loads((nbs_path() / "train.ipynb").read_text(encoding="utf-8"))["cells"]
    ]
    [cell] = [c for c in cells if "plan_training(" in c]
    assert (
        "lengths_here(card, scale, stage.params, checkpoint, train_rows)" in cell
        and "lengths=lengths" in cell
    )
    assert cell.index("lengths_here(") < cell.index("plan_training(")


@pytest.mark.parametrize("name", ["solar-10.7b"])
def test_a_long_dialogue_is_planned_for_where_no_limit_was_given(name, sample, tmp_path, monkeypatch):
    import dialsum.checks.preflight
    import dialsum.training.trainer
    from dialsum.checks.preflight import preflight
    from dialsum.data.dialogues import to_csv
    from dialsum.models.loading import load_tokenizer
    from dialsum.models.prompts import Codec

    c = card(name)
    rows = sample.copy()
    rows.loc[0, "dialogue"] = "\n".join(
        f"#Person{1 + i % 2}#: {i}시에 도서관 앞에서 만나기로 해요." for i in range(160)
    )
    (tmp_path / "train.csv").write_text(to_csv(rows), encoding="utf-8")
    true = len(Codec(c, load_tokenizer(c, str(replica(c)))).source(rows["dialogue"][0]))
    assert true > 1280
    monkeypatch.setattr(dialsum.checks.room, "memory_of_process", lambda *device: 2**30)
    monkeypatch.setattr(dialsum.training.recipe, "available_memory", lambda *device: 2**30)
    told = preflight(
        [name], "full", dict(train_csv=str(tmp_path / "train.csv")), {name: str(replica(c))}, tmp_path
    )
    [refused] = [f.what for f in told.models[name] if "does not fit" in f.what]
    assert true <= int(re.search(r"one row of ([\d,]+)", refused)[1].replace(",", "")) <= 1.4 * true
    given = preflight(
        [name],
        "full",
        dict(train_csv=str(tmp_path / "train.csv"), max_source=512, max_target=128),
        {name: str(replica(c))},
        tmp_path,
    )
    assert any(
        f"one row of {512 + told.outlooks[name].lengths.target} tokens" in f.what for f in given.models[name]
    )
