"Memory by the rows at hand, by what the machine gives, and after it was not enough"

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from dialsum.models import memory_plan
from dialsum.models.cards import card
from dialsum.models.loading import load
from dialsum.models.memory import estimate_memory
from dialsum.models.memory_plan import available_memory, cgroup_room, plan_memory
from dialsum.models.out_of_memory import within_memory
from dialsum.models.replicas import replica
from dialsum.pipeline import process
from dialsum.pipeline.process import record_failure
from dialsum.runs import events as events_module
from dialsum.runs.error_facts import make_error
from dialsum.runs.errors import DialsumError

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
OTHER = [
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUBLAS_STATUS_NOT_INITIALIZED"),
    ValueError("out of memory"),
    DialsumError("out of memory with one row at once: take a larger device."),
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


@pytest.mark.parametrize("error", OTHER, ids=lambda e: str(e)[:40])
def test_another_error_ends_the_training_at_once(error):
    tried = []

    def train(batch, accumulation):
        tried.append(batch)
        raise error

    with pytest.raises(type(error)):
        within_memory(train, 8, 1)
    assert tried == [8]


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


@pytest.mark.parametrize("name", ["polyglot-ko-12.8b", "solar-10.7b"])
def test_what_a_refused_model_needs_does_not_depend_on_what_there_is(name):
    figures = set()
    for available in (1, 4, 6, 7.5):
        with pytest.raises(DialsumError) as e:
            plan_memory(card(name), int(available * 2**30), 8, 1280)
        figures.add(re.search(r"needs ([\d.]+) GiB \(([\d.]+) GiB of it weights\)", str(e.value)).groups())
    assert len(figures) == 1, figures
    [(need, weights)] = figures
    assert plan_memory(card(name), int((float(need) + 0.01) * 2**30), 8, 1280).batch == 1  # so much is enough
    with pytest.raises(DialsumError):
        plan_memory(card(name), int((float(need) - 0.02) * 2**30), 8, 1280)  # and no less
    assert float(weights) == round(estimate_memory(card(name), 1, 64, method="qlora").weights / 2**30, 2)


def group(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")


def test_a_control_group_limits_the_machine(tmp_path, monkeypatch):
    gb = 2**30
    self, root = tmp_path / "self", tmp_path / "cgroup"
    self.write_text("0::/kube/pod\n")
    group(
        root / "kube", memory__max=6 * gb, memory__current=2 * gb, memory__stat=f"anon 1\ninactive_file {gb}"
    )
    group(root / "kube" / "pod", memory__max="max", memory__current=gb, memory__stat="inactive_file 0")
    assert (
        cgroup_room(self, root) == 5 * gb
    )  # version 2, limited from above; what can be given back counts as free
    group(root / "kube" / "pod", memory__max=3 * gb)
    assert cgroup_room(self, root) == 2 * gb  # the smallest counts
    group(root / "kube" / "pod", memory__max=gb // 2)
    assert cgroup_room(self, root) == 0
    self.write_text("0::/kube/elsewhere\n")  # in a container whose own group is the root of what it sees
    group(root, memory__max=4 * gb, memory__current=gb, memory__stat="inactive_file 0")
    assert cgroup_room(self, root) == 3 * gb
    assert cgroup_room(tmp_path / "none", root) is None

    old = tmp_path / "v1"
    self.write_text("5:cpu,cpuacct:/slurm\n4:memory:/slurm/job\n0::/\n")
    group(
        old / "memory",
        memory__limit_in_bytes=9223372036854771712,
        memory__usage_in_bytes=8 * gb,
        memory__stat="total_inactive_file 0",
    )
    group(
        old / "memory" / "slurm" / "job",
        memory__limit_in_bytes=8 * gb,
        memory__usage_in_bytes=3 * gb,
        memory__stat=f"cache 7\ntotal_inactive_file {gb}",
    )
    assert cgroup_room(self, old) == 6 * gb

    free = available_memory("cpu")
    monkeypatch.setattr(memory_plan, "cgroup_room", lambda: 64 * 2**20)
    assert available_memory("cpu") == 64 * 2**20 < free
    monkeypatch.setattr(memory_plan, "cgroup_room", lambda: 2**62)
    assert available_memory("cpu") < 2**50  # a limit beyond what there is gives nothing


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
    at_once, why = process.at_once(workers, scale)
    assert at_once == count and bool(why) == (count < workers)
    if why:
        assert f"--workers {workers}" in why and why.endswith(".") and "\n" not in why


def test_an_experiment_says_so_and_no_two_of_its_stages_share_a_gpu(typed, tmp_path, monkeypatch):
    from dialsum import cli
    from dialsum.runs.events import events

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    threads = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, workers):
            threads.append(workers)
            super().__init__(workers)

    monkeypatch.setattr("dialsum.pipeline.executor.ThreadPoolExecutor", Pool)
    monkeypatch.setattr(cli, "_outcome", lambda *args: 0)
    monkeypatch.setattr(
        "dialsum.pipeline.executor.run_stage",
        lambda spec, *args: record_failure(
            spec, events_module.now(), 0, make_error("exception", "Stopped", text="here the test ends")
        ),
    )
    done = typed(
        "run", "--models", "kobart", "--workers", "3", "--runs", tmp_path, "--reports", tmp_path / "reports"
    )
    assert (
        threads == [1]
        and "1 at once" in done.stderr
        and "--workers 3 is more than the 1 GPU of this machine" in done.stderr
    )
    [run] = tmp_path.glob("*/experiment.json")
    assert events(run.parent)


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
    from dialsum.models.prompts import Codec, example
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
    made = [example(codec, d, s[0], 512) for d, s in zip(rows["dialogue"], rows["summaries"])]
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


def test_short_rows_are_planned_in_larger_batches():
    from dialsum.models.row_lengths import RowLengths
    from dialsum.training.recipe import Recipe, row_size

    c, short = card("qwen3-4b"), RowLengths(source=416, target=96, row=480)
    r = Recipe(method="lora", max_source=1024, max_target=256)
    assert row_size(c, r) == dict(length=1280, target=256) and row_size(c, r, short) == dict(
        length=480, target=96
    )
    assert row_size(c, r, RowLengths(2000, 300, 2200)) == dict(length=1280, target=256)  # longer rows are cut
    assert row_size(card("kobart"), Recipe(max_source=512), RowLengths(2000, 100, 2100)) == dict(
        length=512, target=100
    )
    for name, gb, batches in (
        ("llama-3.2-korean-3b", 24, (1, 4)),
        ("llama-3.2-korean-3b", 40, (2, 8)),
        ("qwen3-4b", 40, (2, 4)),
    ):
        before, now = (
            plan_memory(card(name), gb * 10**9, 8, **row_size(card(name), r, lengths))
            for lengths in (None, short)
        )
        assert (before.batch, now.batch) == batches and not before.checkpointing and not now.checkpointing
        assert before.reason.endswith("for rows of 1,280 tokens") and now.reason.endswith(
            "for rows of 480 tokens"
        )


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
    monkeypatch.setattr(dialsum.checks.room, "available_memory", lambda *device: room)
    monkeypatch.setattr(dialsum.training.recipe, "available_memory", lambda *device: room)
    told = preflight([name], "full", options, {name: str(replica(card(name)))}, tmp_path)
    assert told.ok(), told
    from experiments import is_korean

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
    [cell] = [c for c in cells if "fitted(" in c]
    assert (
        "lengths_here(card, scale, stage.params, checkpoint, train_rows)" in cell
        and "lengths=lengths" in cell
    )
    assert cell.index("lengths_here(") < cell.index("fitted(")


def test_writing_is_estimated_for_the_dialogues_at_hand():
    from dialsum.checks.room import _check_writing
    from dialsum.generation.decoding import make_decoding
    from dialsum.models.row_lengths import RowLengths
    from dialsum.models.writing_memory import estimate_generation
    from dialsum.training.recipe import requested_training

    c = card("qwen3-4b")
    r, how = requested_training(c, "full", {})
    search = make_decoding(c, "full", {})
    long, short = (
        estimate_generation(
            c, 32, n, search.max_new_tokens, search.num_beams, how.weights, False, how.device
        ).total
        for n in (1024, 320)
    )
    room = (long + short) // 2
    assert _check_writing(c, r, how, search, 32, room, RowLengths(320, 64, 384)) == []
    [found] = _check_writing(c, r, how, search, 32, room, None)
    assert "1,024 tokens" in found.what


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
    monkeypatch.setattr(dialsum.checks.room, "available_memory", lambda *device: 2**30)
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
