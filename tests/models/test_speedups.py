"Faster ways to compute an update: in use where they come to the same, off with a sentence where they do not"

import math
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from support.speedups import CAUSAL, by_rows, curve_of, patched_compile, rows, trained, trainer_of, uneven

from dialsum.checks.options import check_options
from dialsum.models.cards import card
from dialsum.models.precision import Precision
from dialsum.runs.errors import DialsumError
from dialsum.runs.files import check_finite
from dialsum.training.agreement import TOLERANCES, deviation
from dialsum.training.metrics import SpeedupRecord
from dialsum.training.recipe import plan_training
from dialsum.training.speedups import Liger, PaddingFree, Speedup, line_of, speedup_names

STRICT = TOLERANCES["float32"]


# rows without padding


def learned_both_ways(name, attention, folder, **more):
    "(the first update padded, the same without padding, shapes of what the model was given)"
    trainer = trainer_of(name, folder, uneven(6), **more)
    if name == "gemma-3-270m":  # shorter than every row
        for module in trainer.model.modules():
            if getattr(module, "sliding_window", None):
                module.sliding_window = 16
        trainer.model.config.sliding_window = 16
    shapes = []
    trainer.model.register_forward_pre_hook(
        lambda model, args, inputs: shapes.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )
    precision = Precision.for_this_machine(card(name), "replica", "full", "fp32")
    padded = trainer.learn_first([])
    packed = trainer.learn_first([PaddingFree(trainer.model, card(name), precision, attention)])
    return padded, packed, shapes


@pytest.mark.parametrize("attention", ["eager", "sdpa", by_rows.__name__])
@pytest.mark.parametrize("name", CAUSAL)
def test_rows_without_padding_teach_the_same(name, attention, tmp_path):
    padded, packed, shapes = learned_both_ways(name, attention, tmp_path)
    assert deviation(packed, padded).within(STRICT), deviation(packed, padded)
    (count, longest), (one, tokens) = shapes[0], shapes[-1]
    assert count == 6 and one == 1 and longest < tokens < count * longest


@pytest.mark.parametrize("name", CAUSAL)
def test_rows_that_see_each_other_are_found(name, tmp_path, monkeypatch):
    from transformers import DataCollatorWithFlattening

    def leaking(self, collate):
        return DataCollatorWithFlattening(return_position_ids=False)

    monkeypatch.setattr(PaddingFree, "collation", leaking)
    padded, packed, _ = learned_both_ways(name, "sdpa", tmp_path)
    assert not deviation(packed, padded).within(STRICT)


def test_rows_without_padding_teach_an_adapter_the_same(tmp_path):
    recomputing = dict(method="lora", checkpointing=True)
    padded, packed, _ = learned_both_ways("qwen3-4b", by_rows.__name__, tmp_path, **recomputing)
    assert deviation(packed, padded).within(STRICT) and padded.norm > 0


@pytest.mark.parametrize(
    ("name", "attention", "wish", "code"),
    [
        ("qwen3-4b", "", "bf16", "padding_free_without_flash"),
        ("qwen3-4b", "sdpa", "bf16", "padding_free_without_flash"),
        ("qwen3-4b", "eager", "bf16", "padding_free_without_flash"),
        ("qwen3-4b", "flash_attention_2", "fp32", "padding_free_in_float32"),
        ("kobart", "flash_attention_2", "bf16", "padding_free_seq2seq"),
    ],
)
def test_rows_are_padded_where_no_kernel_keeps_them_apart(name, attention, wish, code, tmp_path):
    c = card(name)
    precision = replace(Precision.for_this_machine(c, "replica", "full", "fp32"))
    if wish == "bf16":
        precision = replace(precision, amp="bf16")
    with pytest.raises(DialsumError) as e:
        PaddingFree(torch.nn.Linear(1, 1), c, precision, attention).refuse()
    assert e.value.code == code


def test_a_training_without_padding_draws_the_curve_of_one_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr("dialsum.training.speedups.flash_attention", lambda: by_rows.__name__)
    monkeypatch.setattr(PaddingFree, "refuse", lambda self: None)
    plain = trained("qwen3-4b", tmp_path / "plain", amp="bf16")
    monkeypatch.setattr(PaddingFree, "active", counted(PaddingFree.active, calls := []))
    packed = trained("qwen3-4b", tmp_path / "packed", speedups="padding_free", amp="bf16")
    [record] = packed["speedups"]
    assert record["active"] and record["tolerance"] == TOLERANCES["bfloat16"].mean
    assert len(calls) == packed["steps"] + 1  # each update, and the first one before
    assert curve_of(packed) == pytest.approx(curve_of(plain), rel=0.02)


def counted(method, calls):
    def counting(self):
        calls.append(self)
        return method(self)

    return counting


# what is not equal, or does not run


def times(factor):
    def compile(call):
        def compute(*args, **inputs):
            return call(*args, **inputs) * factor

        return compute

    return compile


def broken(error):
    def compile(call):
        def compute(*args, **inputs):
            raise error

        return compute

    return compile


FAULTS = [
    ("kobart", "speedup_differs", times(1.01)),
    ("qwen3-4b", "speedup_differs", times(1.01)),
    ("qwen3-4b", "speedup_differs", times(math.nan)),
    ("qwen3-4b", "speedup_failed", broken(NotImplementedError("no kernel\nfor this"))),
    ("qwen3-4b", "speedup_out_of_memory", broken(MemoryError("out of memory"))),
]


@pytest.mark.parametrize(("name", "code", "fault"), FAULTS)
def test_a_wrong_speedup_is_off_and_the_training_is_what_it_was(name, code, fault, tmp_path, monkeypatch):
    plain = trained(name, tmp_path / "plain", dropout=0.1)
    patched_compile(monkeypatch, fault)
    lines = []
    unused = trained(name, tmp_path / "unused", speedups="compile", dropout=0.1, say=lines.append)
    [record] = unused["speedups"]
    assert not record["active"] and record["code"] == code
    check_finite(record)
    [line] = [line for line in lines if line.startswith("compile: off. ")]
    assert "compile" in line.removeprefix("compile: off. ") and "{" not in line and "\n" not in line
    assert unused["curve"] == plain["curve"] and unused["evaluations"] == plain["evaluations"]
    same = [(tmp_path / folder / "model") for folder in ("plain", "unused")]
    [ours], [theirs] = (sorted(folder.glob("*.safetensors")) for folder in same)
    assert ours.read_bytes() == theirs.read_bytes()


def but_for_rounding(curve):  # beside speedups norms are transformers' own
    return [pytest.approx(point, rel=1e-5) for point in curve]


def test_what_is_equal_is_in_use_and_told(tmp_path, monkeypatch):
    plain = trained("qwen3-4b", tmp_path / "plain", dropout=0.1)
    patched_compile(monkeypatch, lambda call: call)
    lines = []
    used = trained("qwen3-4b", tmp_path / "used", speedups="compile", dropout=0.1, say=lines.append)
    [record] = used["speedups"]
    assert record["active"] and record["gradient_deviation"] < 1e-6 and record["loss_deviation"] == 0
    assert record["loss"] == record["reference_loss"] > 0 and record["seconds"] > 0
    assert [line for line in lines if line.startswith("compile: on. ")]
    assert used["curve"] == but_for_rounding(plain["curve"])


@pytest.mark.parametrize(("seconds", "told"), [(1.0, False), (2.05, False), (3.0, True)])
def test_one_that_does_not_pay_is_told(seconds, told):
    figures = dict(
        loss=1.0, reference_loss=1.0, gradient_deviation=0.0, seconds=seconds, reference_seconds=2.0
    )
    line = line_of(SpeedupRecord(name="compile", active=True, **figures))
    assert line.endswith(": slower than without any") == told


def test_a_training_that_went_on_tries_again(tmp_path, monkeypatch):
    patched_compile(monkeypatch, lambda call: call)
    plain = trained("qwen3-4b", tmp_path / "plain", dropout=0.1)
    with pytest.raises(KeyboardInterrupt):
        trained("qwen3-4b", tmp_path / "torn", dropout=0.1, stop=2, speedups="compile")
    resumed = trained("qwen3-4b", tmp_path / "torn", dropout=0.1, speedups="compile")
    assert resumed["curve"] == but_for_rounding(plain["curve"]) and resumed["speedups"][0]["active"]
    over = trained("qwen3-4b", tmp_path / "without", dropout=0.1)
    assert over["curve"] == plain["curve"] and over["speedups"] == []


def test_those_in_use_are_compared_together(tmp_path):
    class Named(Speedup):
        def __init__(self, name, refusal=None):
            self.name, self.refusal = name, refusal

        def refuse(self):
            if self.refusal:
                raise DialsumError(self.refusal)

    trainer = trainer_of("qwen3-4b", tmp_path, rows(2))
    trainer.speedups.candidates = [Named("a"), Named("b", "liger_missing"), Named("c")]
    tried = []

    def learn(speedups):
        tried.append([speedup.name for speedup in speedups])
        return trainer.learn_first([])

    trainer.speedups.choose(learn)
    assert tried == [[], ["a"], ["a", "c"]]
    assert [record.active for record in trainer.speedups.records] == [True, False, True]


# what is not possible here


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("name", "code"), [("qwen3-4b", "liger_without_cuda"), ("polyglot-ko-12.8b", "liger_without_family")]
)
def test_liger_is_off_where_it_cannot_be(name, code, tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr("dialsum.training.trainer.first_update", lambda *args: pytest.fail("it computes"))
    happened = trained(name, tmp_path, speedups="liger", say=lines.append)
    [record] = happened["speedups"]
    assert not record["active"] and record["code"] == code and record["loss"] is None
    [line] = [line for line in lines if line.startswith("liger: off. ")]
    assert line == f"liger: off. {DialsumError(code, **record['fields'])}"


def test_a_name_that_nobody_knows_is_refused_in_one_sentence():
    with pytest.raises(DialsumError) as e:
        speedup_names("compile,padding-free")
    assert str(e.value) == (
        "unknown training speedup 'padding-free', did you mean 'padding_free'? "
        "Known: liger, padding_free, compile."
    )
    for options in (dict(speedups="flash"), dict(speedups="compile", processes=2)):
        codes = [finding.code for finding in check_options(card("kobart"), "full", options)]
        with pytest.raises(DialsumError) as e:
            plan_training(card("kobart"), "replica", options)
        assert codes == [e.value.code]
    assert e.value.code == "speedups_with_processes"


def test_trying_leaves_everything_as_it_was(tmp_path):
    trainer = trainer_of("kobart", tmp_path, uneven(6), dropout=0.1)
    trainer.create_optimizer_and_scheduler(4)
    before = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    chance, training = torch.random.get_rng_state(), trainer.model.training
    once, again = trainer.learn_first([]), trainer.learn_first([])
    assert once.loss == again.loss and deviation(again, once).gradient == 0 and once.norm > 0
    assert all(torch.equal(weight, before[name]) for name, weight in trainer.model.state_dict().items())
    assert all(weight.grad is None for weight in trainer.model.parameters())
    assert torch.equal(torch.random.get_rng_state(), chance) and trainer.model.training == training
    assert trainer.model.config.dropout == trainer.model.model.encoder.layers[0].dropout == 0.1
    assert not trainer.optimizer.state


class _Kernels(Liger):
    "Liger, with other kernels that it applies"

    def __init__(self, model, apply):
        super().__init__(model, card("qwen3-4b"), "cpu")
        self._apply = lambda: apply(model)


def test_a_kernel_is_there_within_and_gone_after_an_error(tmp_path):
    model = trainer_of("qwen3-4b", tmp_path, uneven(2)).model
    usual = model.model.norm.forward
    kernels = _Kernels(model, lambda model: setattr(model.model.norm, "forward", abs))
    with suppress(KeyboardInterrupt), kernels.active():
        assert model.model.norm.forward is abs
        raise KeyboardInterrupt
    assert model.model.norm.forward == usual and "forward" not in vars(model.model.norm)
    with pytest.raises(DialsumError, match="changes nothing"), _Kernels(model, lambda model: None).active():
        pytest.fail("it is in use without any kernel")
