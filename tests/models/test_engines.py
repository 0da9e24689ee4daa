"Engines: in order, as plain transformers writes it or as near as it was measured, converted once, refused in a sentence; the search among them; the stage, and what uses it"

import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from support.experiments import fact_of
from support.toys import known_rows, learn, learned

import dialsum.generation.bench as bench_module
import dialsum.generation.ctranslate2 as conversion
import dialsum.generation.engines as engines
import dialsum.generation.search as search_module
import dialsum.runs.ticker as ticker
from dialsum.data.dialogues import read
from dialsum.data.lengths import LengthRule
from dialsum.generation.ctranslate2 import convert_checkpoint
from dialsum.generation.decoding import Decoding
from dialsum.generation.engine_choice import choose
from dialsum.generation.engines import ENGINES, EXACT, Engine, engine_names
from dialsum.generation.factory import engine
from dialsum.generation.metrics import OptimizeMetrics
from dialsum.generation.predictor import Predictor
from dialsum.generation.search import optimize
from dialsum.models.cards import card
from dialsum.models.checkpoints import locate
from dialsum.models.loading import LoadedModel, load, load_tokenizer
from dialsum.models.precision import Device
from dialsum.pipeline.plan import plan_stages
from dialsum.pipeline.process import run_stage
from dialsum.runs.errors import DialsumError
from dialsum.runs.files import to_json
from dialsum.runs.folders import new_run
from dialsum.runs.places import sample_path

KOBART, CPU = card("kobart"), dict(device="cpu")
MODELS = ["kobart", "llama-3.2-korean-3b", "qwen3-4b", "solar-10.7b", "kullm-v2"]  # Polyglot is what KULLM is
ROWS = known_rows()  # by heart: what a toy writes of them is certain, whatever rounds it
TEXTS = list(ROWS["dialogue"])
fast = pytest.mark.usefixtures("ctranslate2")


@pytest.fixture(scope="module")
def ctranslate2():
    return pytest.importorskip("ctranslate2", reason="needs the extra `fast`")


@pytest.fixture(autouse=True)
def one_thread():  # toys are slower with more
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    "Toys that know `ROWS` by heart, in a folder where conversions may lie beside"
    top = tmp_path_factory.mktemp("checkpoints")

    def copy(name):
        if not (top / name).is_dir():
            shutil.copytree(learned(name), top / name)
        return str(top / name)

    return copy


def same(
    name, checkpoint, of, *hows, texts=TEXTS[:8]
):  # for each way to search, the share of an engine's texts that equal the Predictor's
    first, made = Predictor(load(of, checkpoint), 4), engine(name, of, checkpoint, 4, loading=CPU)
    return [
        np.mean(
            [
                a == b
                for a, b in zip(
                    made.predict_batch(texts, **how), first.predict_batch(texts, **how), strict=True
                )
            ]
        )
        for how in (dict(max_new_tokens=10) | h for h in hows)
    ]


@pytest.mark.parametrize("name", MODELS)
def test_hf_writes_what_the_predictor_writes(name, copies):
    penalties = dict(min_new_tokens=4, no_repeat_ngram_size=2, repetition_penalty=1.3)
    hows = dict(), dict(num_beams=4), penalties, dict(temperature=0.7), dict(use_cache=False)
    assert same("hf", copies(name), card(name), *hows) == [1] * 5


def test_hf_keeps_lengths_as_the_predictor_does(copies):
    options = dict(lengths=LengthRule(slope=0.2, intercept=1.0, low=-0.1, high=0.1))
    checkpoint = copies("qwen3-4b")
    plain = Predictor(load(card("qwen3-4b"), checkpoint), 4, **options)
    fast = engine("hf", card("qwen3-4b"), checkpoint, 4, loading=CPU, **options)
    assert fast.predict_batch(TEXTS[:6]) == plain.predict_batch(TEXTS[:6])
    assert fast.reached == plain.reached


@pytest.mark.parametrize("name", ["kobart", "qwen3-4b"])
def test_where_memory_ends_fewer_are_written_at_once_and_the_same(name, copies, monkeypatch, capsys):
    made = engine("hf", card(name), copies(name), 8, loading=CPU)
    whole, generate = made.predict_batch(TEXTS[:8], max_new_tokens=10), made._generate

    def small(sources, *given):
        if len(sources) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return generate(sources, *given)

    monkeypatch.setattr(made, "_generate", small)
    assert (
        made.predict_batch(TEXTS[:8], max_new_tokens=10) == whole
        and made.batch_size == 2
        and capsys.readouterr().out.count("out of memory") == 2
    )
    monkeypatch.setattr(made, "_generate", lambda *given: small([1, 2, 3]))
    with pytest.raises(torch.OutOfMemoryError):
        made.predict_batch(TEXTS[:1], max_new_tokens=10)


@fast
@pytest.mark.parametrize("name", MODELS)
def test_ctranslate2_writes_what_the_predictor_writes(name, copies):
    hows = dict(), dict(num_beams=4, length_penalty=2.0), dict(min_new_tokens=5), dict(max_new_tokens=1)
    assert same("ctranslate2", copies(name), card(name), *hows) == [1] * 4


@fast
@pytest.mark.parametrize("name", MODELS)
def test_without_a_length_penalty_ctranslate2_goes_on_until_nothing_can_become_better(name, copies):
    how, checkpoint = dict(max_new_tokens=10, num_beams=3, length_penalty=0.0), copies(name)
    first, made = (
        Predictor(load(card(name), checkpoint), 4),
        engine("ctranslate2", card(name), checkpoint, 4, loading=CPU),
    )
    assert made.predict_batch(TEXTS[:8], **how) == first.predict_batch(TEXTS[:8], **how, early_stopping=False)


@fast
def test_heads_wider_than_their_share(tmp_path):  # as in Qwen3-4B
    from transformers import AutoConfig, AutoModelForCausalLM

    first = load(card("qwen3-4b"), locate(card("qwen3-4b"), "replica"))
    torch.manual_seed(0)
    wide = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(**first.model.config.to_dict() | dict(head_dim=64))
    )
    learn(LoadedModel(card("qwen3-4b"), wide, first.tokenizer, ""), ROWS.head(4))
    wide.save_pretrained(tmp_path / "model")
    first.tokenizer.save_pretrained(tmp_path / "model")
    assert same("ctranslate2", str(tmp_path / "model"), card("qwen3-4b"), dict(), texts=TEXTS[:4]) == [1]


@pytest.mark.parametrize("name", [n for n in search_module.MEASURED if n not in EXACT])
@pytest.mark.parametrize("model", ["kobart", "qwen3-4b", "kullm-v2"])
def test_rounded_weights_write_the_same_words_in_order(name, model, copies):
    if name.startswith("ctranslate2"):
        pytest.importorskip("ctranslate2")
    assert same(name, copies(model), card(model), dict()) == [1]


def test_groups_hold_every_dialogue_once_within_the_budget():
    e = engine("hf", KOBART, locate(KOBART, "replica"), 4, loading=CPU)
    texts = list(read(sample_path() / "dev.csv")["dialogue"])
    e.tokens, texts = 800, [*texts, texts[0] * 30, ""]
    groups, length = e.groups(texts), lambda i: len(e.codec.source(texts[i]))
    assert sorted(i for g in groups for i in g) == list(range(len(texts))) and max(map(len, groups)) == 4
    assert all(len(g) == 1 or sum(map(length, g)) <= 800 for g in groups) and {len(g) for g in groups} > {
        1,
        4,
    }
    lengths = [length(g[0]) for g in groups]
    assert lengths == sorted(lengths, reverse=True) and e.predict_batch([]) == []
    e._pads = lambda: True  # as on a GPU
    assert all(len(g) == 1 or len(g) * max(map(length, g)) <= 800 for g in e.groups(texts))


def test_an_engine_is_a_predictor(copies, tmp_path, monkeypatch):
    told, clock = [], iter(range(0, 10**6, 3))
    given = (
        2,
        1024,
        Decoding(max_new_tokens=20),
        42,
        lambda *a: told.append(a),
        LengthRule(0, 2, -0.1, 0.1),
        True,
    )
    for module in (engines, ticker):  # seconds pass with each look at the clock
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    e, plain = (
        engine("hf", KOBART, copies("kobart"), *given, loading=CPU),
        Predictor(load(KOBART, copies("kobart")), *given[:4], None, *given[5:]),
    )
    frame = e.create_submission(ROWS.head(6), tmp_path / "s.csv")
    assert frame.equals(plain.predict_dataframe(ROWS.head(6))) and (
        tmp_path / "s.csv"
    ).read_text().startswith(",fname,summary\n")
    assert e.predict_single(TEXTS[7], num_beams=2) == plain.predict_single(TEXTS[7], num_beams=2) and [
        t[:2] for t in told
    ][:3] == [(2, 6), (4, 6), (6, 6)]


@fast
def test_a_conversion_is_made_once_and_anew_for_other_weights(tmp_path, monkeypatch):
    checkpoint = tmp_path / "model"
    shutil.copytree(locate(KOBART, "replica"), checkpoint)
    first = convert_checkpoint(KOBART, str(checkpoint), "int8")
    assert first.parent == tmp_path / "model.ctranslate2"
    with monkeypatch.context() as m:
        m.setattr(conversion, "_specification", lambda *a: pytest.fail("converted again"))
        assert convert_checkpoint(KOBART, str(checkpoint), "int8") == first
    loaded = load(KOBART, str(checkpoint))
    with torch.no_grad():
        loaded.model.model.shared.weight.mul_(1.1)
    loaded.model.save_pretrained(checkpoint)
    second = convert_checkpoint(KOBART, str(checkpoint), "int8")
    assert (
        second != first
        and not first.exists()
        and (second / "model.bin").stat().st_size < (checkpoint / "model.safetensors").stat().st_size / 2
    )
    monkeypatch.setattr(
        conversion, "_specification", lambda loaded: (_ for _ in ()).throw(OSError("disk full"))
    )
    with pytest.raises(OSError, match="disk full"):
        convert_checkpoint(KOBART, str(checkpoint))
    assert list((tmp_path / "model.ctranslate2").iterdir()) == [second]


@fast
def test_beside_a_place_that_cannot_be_written_the_cache_serves(tmp_path, monkeypatch):
    shutil.copytree(locate(KOBART, "replica"), tmp_path / "model")
    monkeypatch.setenv("DIALSUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(conversion.os, "access", lambda *a: False)  # who is root may write anywhere
    assert (tmp_path / "cache" / "ctranslate2") in convert_checkpoint(KOBART, str(tmp_path / "model")).parents


@fast
def test_an_adapter_is_merged(tmp_path):
    qwen = card("qwen3-4b")
    base = load(qwen, locate(qwen, "replica"))
    adapted = LoadedModel(
        qwen,
        get_peft_model(base.model, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM")),
        base.tokenizer,
        "",
    )
    learn(adapted, ROWS.head(2), learning_rate=5e-3, enough=0.05)
    adapted.model.save_pretrained(tmp_path / "model")
    base.tokenizer.save_pretrained(tmp_path / "model")
    for name in EXACT:
        assert same(name, str(tmp_path / "model"), qwen, dict(), texts=TEXTS[:2]) == [1]


@fast
@pytest.mark.parametrize(
    "options",
    [
        dict(repetition_penalty=1.2),
        dict(no_repeat_ngram_size=3),
        dict(temperature=0.7),
        dict(more=(("suppress_tokens", [5]),)),
    ],
    ids=str,
)
def test_ctranslate2_says_what_it_cannot_do(options):
    with pytest.raises(DialsumError, match="the engine ctranslate2 cannot follow .*use hf"):
        engine("ctranslate2", KOBART, locate(KOBART, "replica"), decoding=Decoding(**options), loading=CPU)
    e = engine("ctranslate2", KOBART, locate(KOBART, "replica"), loading=CPU)
    with pytest.raises(DialsumError, match="cannot follow"):
        e.predict_single("안녕", **(dict(options["more"]) if "more" in options else options))


@fast
def test_ctranslate2_knows_no_lengths_of_its_own():
    with pytest.raises(DialsumError, match="length_control"):
        engine(
            "ctranslate2", KOBART, locate(KOBART, "replica"), lengths=LengthRule(0, 2, -0.1, 0.1), loading=CPU
        )


def test_what_is_unknown_or_missing(monkeypatch):
    replica = locate(KOBART, "replica")
    with pytest.raises(DialsumError, match="did you mean 'hf-bf16'"):
        engine("hf_bf16", KOBART, replica)
    with pytest.raises(DialsumError, match="on a CPU only"):
        engine("int8", KOBART, replica, loading=dict(device="cuda"))
    with pytest.raises(DialsumError, match="unknown engine"):
        optimize(KOBART, replica, TEXTS, engines=("hf", "hm"))
    with pytest.raises(DialsumError, match="server, or auto"):
        engine_names("tensorrt")
    with pytest.raises(DialsumError, match="references"):
        optimize(KOBART, replica, TEXTS, ["x"])
    with pytest.raises(DialsumError, match="from 1 on"):
        optimize(KOBART, replica, TEXTS, sizes=(0, 4))
    assert engine_names("auto") == list(ENGINES) and engine_names("int8, hf") == ["int8", "hf"]
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(DialsumError, match=r"dialsum\[fast\]"):
        engine("ctranslate2", KOBART, replica, loading=CPU)
    o = optimize(
        KOBART,
        replica,
        TEXTS[:4],
        decoding=Decoding(max_new_tokens=4),
        engines=("ctranslate2", "hf-bf16"),
        seconds=600,
        loading=CPU,
    )
    assert "not installed" in str(o.skipped["ctranslate2"]) and {r.engine for r in o.rows} == {
        "hf",
        "hf-bf16",
    }


# the search, among engines that write in the seconds and words that are set here, by a clock that only they move


class Clocked(Engine):
    def __init__(self, name, clock, per_group, per_row, word="가", most=64):
        super().__init__(
            name, 2**20, LoadedModel(KOBART, None, load_tokenizer(KOBART, locate(KOBART, "replica")), ""), 1
        )
        self.clock, self.per_group, self.per_row, self.word, self.most = clock, per_group, per_row, word, most

    def _group(self, texts, instructions, options):
        if len(texts) > self.most:
            raise MemoryError
        self.clock[0] += self.per_group + self.per_row * len(texts)
        self.reached = [False] * len(texts)
        return [f"{self.word} {t[:20]}" for t in texts]


@pytest.fixture
def search(monkeypatch):
    clock = [0.0]
    for module in (engines, bench_module, search_module):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def run(max_loss=0.5, identical=False, seconds=60.0, room=lambda name, size: True, **how):
        made = {n.replace("_", "-"): Clocked(n.replace("_", "-"), clock, *h) for n, h in how.items()}
        return search_module.Search(
            made.__getitem__,
            [t[:80] for t in TEXTS] * 4,
            None,
            list(search_module.SIZES),
            max_loss,
            identical,
            room,
            "cpu",
            clock[0],
            seconds,
        ).optimum({name: search_module._FIRST_SIZES[name] for name in made}, {})

    return run


def test_the_first_guess_is_the_processors():
    every = list(search_module.ENGINES)
    with_bf16 = list(search_module._guesses(every, False, Device("cpu", True)))
    without = search_module._guesses(every, False, Device("cpu", False))
    assert with_bf16[:2] == ["hf", "hf-bf16"] and sorted(with_bf16) == sorted(without)
    assert [*without][:2] == ["hf", "ctranslate2-int8"] and [*without.items()][-1] == ("hf-bf16", 8)
    assert "hf-bf16" not in search_module._guesses(every, True, Device("cpu", False))


def test_a_slower_engine_is_left_early_and_not_picked(search):
    o = search(hf=(0.01, 0.004), int8=(0.2, 0.02))
    slow = next(r for r in o.rows if r.engine == "int8")
    assert o.engine == "hf" and slow.stopped == "slower" and slow.dialogues < 32


def test_a_faster_engine_within_the_bound_is_picked(search):
    o = search(hf=(0.01, 0.004), hf_bf16=(0.005, 0.001))
    assert (o.engine, o.rows[0].identical) == ("hf-bf16", 1) and "hf-bf16" in o.reason


def test_a_faster_engine_that_writes_other_words_is_not(search):
    how = dict(hf=(0.01, 0.004), hf_bf16=(0.005, 0.001, "전혀 다른 말을 길게 늘어놓는다 또 다른 말"))
    o = search(**how)
    other = next(r for r in o.rows if r.engine == "hf-bf16")
    assert (
        o.engine == "hf"
        and other.identical == 0
        and other.difference[0] < -0.5
        and other.difference[1] <= other.difference[0] <= other.difference[2]
    )
    assert (
        search(max_loss=100, **how).engine == "hf-bf16"
        and search(max_loss=100, identical=True, **how).engine == "hf"
    )


def test_an_engine_says_how_much_of_its_change_dev_has_chosen(search):
    other = dict(hf=(0.01, 0.004), hf_bf16=(0.005, 0.001, "전혀 다른 말을 길게 늘어놓는다 또 다른 말"))
    o = search(max_loss=100, **other)
    [found] = o.optimism
    assert (found.choice, found.chosen) == ("engine", f"hf-bf16/{o.batch_size}") and found.optimism == 0
    chosen = next(r for r in o.rows if (r.engine, r.batch_size) == (o.engine, o.batch_size))
    assert found.naive < -0.5 and found.candidates == [f"{r.engine}/{r.batch_size}" for r in o.rows]
    assert abs(found.naive - chosen.difference[0]) < 5  # over the dialogues that all have written
    [unknown] = search(max_loss=100, identical=True, **other).optimism
    assert unknown.chosen.startswith("hf/") and unknown.optimism is None  # texts have chosen, not scores
    assert OptimizeMetrics.of(**o.facts()).optimism[0].naive == found.naive


def test_sizes_are_followed_where_they_gain(search):
    o = search(hf=(0.1, 0.0005))
    assert o.batch_size == 64 and [r.batch_size for r in o.rows] == [32, 64]
    assert search(hf=(0.0, 0.005)).batch_size == 16  # no faster than 32, and with less memory
    assert search(hf=(0.05, 0.001, "가", 16)).batch_size == 16  # memory ends
    o = search(hf=(0.05, 0.001), room=lambda name, size: size <= 8)  # so it is estimated
    assert o.batch_size == 8 and {r.batch_size: r.stopped for r in o.rows} == {
        32: "memory",
        16: "memory",
        8: "",
    } | {r.batch_size: r.stopped for r in o.rows if r.batch_size < 8}


def test_the_time_is_kept(search):
    o = search(seconds=3, hf=(0.1, 0.08), hf_bf16=(0.1, 0.06), ctranslate2=(0.1, 0.06))
    assert o.seconds < 3.5 and o.skipped["ctranslate2"].code == "engine_without_time"
    o = search(seconds=3, hf=(0.5, 0.6), hf_bf16=(0.1, 0.06))
    assert o.engine == "hf" and "too long to compare" in o.reason and not o.rows


def test_identical_means_exact_engines_only(copies):
    o = optimize(
        KOBART,
        copies("kobart"),
        TEXTS[:4],
        decoding=Decoding(max_new_tokens=4),
        identical=True,
        sizes=(4,),
        seconds=600,
        loading=CPU,
    )
    tried = {r.engine for r in o.rows} | set(o.skipped)
    assert tried == set(EXACT) - {"continuous"}  # which gains nothing on a CPU
    assert {r.identical for r in o.rows if r.engine == o.engine} == {1}


# the stage, and what uses it


@pytest.mark.slow
def test_a_run_predicts_with_what_was_picked(copies, tmp_path):
    run, options = (
        new_run("fast", dict(models=["kobart"]), tmp_path),
        dict(
            scale="replica",
            max_new_tokens=8,
            num_beams=2,
            optimization_method="hf-bf16",
            max_quality_loss=100.0,
            optimization_seconds=600.0,
        ),
    )
    shutil.copytree(copies("kobart"), run / "kobart" / "model")
    specs = {s.key: s for s in plan_stages(run, ["kobart"], options, rehearse=False, optimize=True)}
    assert (
        specs["kobart/predict"].after == ("kobart/evaluate", "kobart/optimize")
        and "kobart/optimize" not in specs["kobart/predict"].needs
    )
    found, written = (
        run_stage(specs["kobart/optimize"], threads=1),
        run_stage(specs["kobart/predict"], threads=1),
    )
    assert found.status == written.status == "success", (found.error, written.error)
    m, row = (
        found.metrics,
        dict(
            engine=str,
            batch_size=int,
            dialogues=int,
            throughput=float,
            latency=float,
            peak=float,
            disk=float,
            identical=float,
            difference=list,
            stopped=str,
        ),
    )
    assert all(
        set(r.to_dict()) == set(row)
        and all(isinstance(getattr(r, k), (t, int)) for k, t in row.items())
        and r.peak > 0.05
        and r.disk > 0
        for r in m.rows
    ) and {r.engine for r in m.rows} == {"hf", "hf-bf16"}
    assert (written.metrics.engine, written.metrics.batch_size) == (
        m.engine,
        m.batch_size,
    ) and "kobart/optimize.json" in written.inputs
    made = engine(
        m.engine,
        KOBART,
        str(run / "kobart" / "model"),
        m.batch_size,
        decoding=Decoding(max_new_tokens=8, num_beams=2),
        whole=written.metrics.whole_sentences,
        loading=CPU,
    )
    assert list(
        pd.read_csv(run / "kobart" / "predictions_test.csv", keep_default_na=False)["summary"]
    ) == made.predict_batch(list(read(sample_path() / "test.csv")["dialogue"]))


def test_only_what_was_measured_in_the_same_way_is_used(tmp_path):
    d = Decoding(num_beams=4, length_penalty=1.5)
    measured = OptimizeMetrics.of(engine="int8", batch_size=4, decoding=d.facts())
    fact = fact_of("optimize", metrics=json.loads(to_json(measured)))
    assert choose("auto", 32, fact, d) == ("int8", 4) and choose("hf-bf16", 32, fact, d) == ("hf-bf16", 32)
    assert (
        choose("auto", 32, fact, Decoding())
        == choose("auto", 32, fact_of("optimize"), d)
        == choose("auto", 32, None, d)
        == choose("hf", 32, fact, d)
        == ("", 32)
    )
    assert {s.key: s for s in plan_stages(tmp_path, ["kobart"], {}, rehearse=False)}[
        "kobart/predict"
    ].all_params["engine"] == "hf"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--optimize_inference", "--optimization_method", "tensorrt", "--use_batch_optimization"],
            "take hf, hf-bf16, int8, ctranslate2",
        ),
        (["--optimize-inference", "--optimization-method", "ctranslate"], "did you mean 'ctranslate2'"),
        (["--use_batch_optimization"], "--use-batch-optimization acts only with --optimize-inference"),
        (["--max-quality-loss", "1"], "acts only with --optimize-inference"),
        (["--optimize-inference", "--engine", "int8"], "nothing to choose"),
        (["--engine", "hf-bf"], "did you mean 'hf-bf16'"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_is_refused_before_anything_starts(options, words, tmp_path, capsys):
    from dialsum.cli import main

    assert (
        main(["run", "--models", "kobart", "--scale", "replica", *options, "--runs", str(tmp_path / "runs")])
        == 2
    )
    told = capsys.readouterr().err
    assert words in told and len(told.strip().splitlines()) == 1 and not (tmp_path / "runs").exists()
