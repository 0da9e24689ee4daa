"Memory: estimates that add up, grow with what they should, agree with reality, and plans that fit"

import ctypes

import psutil
import pytest
import torch
from support.memory import tiny

from dialsum.models.cards import card
from dialsum.models.memory import Memory, estimate_memory
from dialsum.models.memory_plan import available_memory, plan_memory, refuse_offload
from dialsum.models.out_of_memory import release_memory, within_memory
from dialsum.models.precision import Device
from dialsum.models.sizes import skeleton
from dialsum.models.training_step import TrainingStep
from dialsum.models.writing_memory import estimate_generation
from dialsum.runs.errors import DialsumError


def test_the_total_is_the_sum_of_the_parts():
    m = estimate_memory(tiny(), 2, 64)
    assert (
        isinstance(m, Memory) and m.total == sum(m.parts.values()) and all(v >= 0 for v in m.parts.values())
    )


@pytest.mark.parametrize("name", ["qwen3-4b", "polyglot"])
@pytest.mark.parametrize(
    "how",
    [dict(), dict(checkpointing=True, amp="bf16"), dict(method="qlora", amp="bf16")],
    ids=["lora", "checkpointing", "qlora"],
)
def test_more_rows_or_tokens_need_more(name, how):
    sizes = [estimate_memory(tiny(name), b, n, **how).total for b, n in ((1, 64), (2, 64), (2, 128))]
    assert sizes == sorted(set(sizes))


def test_more_rows_or_tokens_need_more_of_an_encoder_decoder():
    sizes = [
        estimate_memory(card("kobart"), b, n, t).total
        for b, n, t in ((2, 128, 32), (4, 128, 32), (4, 512, 32), (4, 512, 64))
    ]
    assert sizes == sorted(set(sizes))


def test_an_adapter_that_drops_nothing_needs_less():
    with_dropout, without = (estimate_memory(tiny(), 2, 64, dropout=d) for d in (True, False))
    assert without.activations < with_dropout.activations and without.total < with_dropout.total


def test_checkpointing_lowers_the_activations():
    for name, how in (("kobart", {}), ("qwen3-4b", dict(amp="bf16"))):
        kept, again = (
            estimate_memory(card(name), 8, 512, 128, checkpointing=c, **how) for c in (False, True)
        )
        assert again.activations < kept.activations and again.total < kept.total


def test_methods_of_the_largest_model():
    how = dict(batch=1, length=512, amp="bf16")
    lora, qlora = (estimate_memory(card("polyglot-ko-12.8b"), method=m, **how) for m in ("lora", "qlora"))
    assert (
        lora.weights == 12_893_603_840 * 2
        and lora.adapter == qlora.adapter == 52_428_800 * 4
        and lora.optimizer == 2 * lora.adapter
    )
    assert 12_893_603_840 // 2 < qlora.weights < 8 * 2**30
    assert (
        qlora.total < lora.total < 12_893_603_840 * 16
    )  # full fine-tuning: weights, gradients and two moments in float32


def test_full_fine_tuning_needs_four_times_its_weights():
    m = estimate_memory(card("kobart"), 1, 32, 16)
    assert (m.weights, m.optimizer) == (
        123_859_968 * 4,
        123_859_968 * 8,
    ) and 123_859_968 * 16 <= m.total - m.overhead < 123_859_968 * 18
    assert (
        estimate_memory(card("kobart"), 8, 512, 128, accumulation=2).gradients == 123_859_968 * 4
    )  # kept from one batch to the next


def test_writing_grows_with_beams_and_tokens():
    a, b, c = (
        estimate_generation(card("qwen3-4b"), 4, 128, n, k) for n, k in ((500, 1), (1000, 1), (1000, 4))
    )
    assert a.total < b.total < c.total and a.kv_cache == 2 * 36 * 8 * 128 * 628 * 4 * 2
    assert estimate_generation(card("qwen3-4b"), 4, 128, quantized=True).weights < a.weights / 2
    assert (
        estimate_generation(card("kobart"), 4, 128, beams=4).kv_cache
        > estimate_generation(card("kobart"), 4, 128).kv_cache
    )


@pytest.mark.parametrize("gb", [12, 80])
def test_a_plan_fits_and_keeps_the_effective_batch(gb):
    plan = plan_memory(card("llama"), gb * 10**9, effective_batch=6, length=512)
    assert plan.batch * plan.gradient_accumulation_steps == 6 and plan.estimate.total <= gb * 10**9 * 0.9
    assert str(plan.batch) in plan.reason


def test_plans_prefer_what_is_faster():
    need = [
        estimate_memory(
            tiny(), 1, 256, amp="bf16", checkpointing=c, accumulation=2, optimizer="adamw_torch_fused"
        ).total
        for c in (True, False)
    ]
    least, more, most = (
        plan_memory(tiny(), int(n * 1.12), 2, 256, 128, quantize=False) for n in (*need, 10**10)
    )
    assert (
        least.checkpointing
        and not more.checkpointing
        and (most.batch, most.gradient_accumulation_steps, most.checkpointing) == (2, 1, False)
    )
    assert plan_memory(card("llama"), 8 * 10**9).method == "qlora"


def test_a_gpu_without_bf16_is_planned_for():
    assert (
        plan_memory(
            card("kobart"), 24 * 10**9, length=256, target=64, device=Device("cuda", bf16=False)
        ).method
        == "full"
    )


def test_what_cannot_fit_is_one_sentence():
    with pytest.raises(
        DialsumError, match=r"does not fit into 3\.73 GiB: even qlora .* needs \d+\.\d\d GiB .* of it weights"
    ) as e:
        plan_memory(card("polyglot"), 4 * 10**9)
    assert "\n" not in str(e.value)
    with pytest.raises(DialsumError, match="reads at most 1,026 tokens"):
        estimate_memory(card("kobart"), 1, 2000)
    with pytest.raises(DialsumError, match="trained in full"):
        estimate_memory(card("kobart"), method="lora")
    with pytest.raises(DialsumError, match="did you mean 'qlora'"):
        estimate_memory(card("qwen3-4b"), method="qlra")


def test_the_last_net_keeps_the_effective_batch():
    tried = []

    def train(batch, accumulation):
        tried.append((batch, accumulation))
        if batch > 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return "done"

    assert within_memory(train, 12, 1) == "done" and tried == [(12, 1), (6, 2), (4, 3), (3, 4)]

    def broken(batch, accumulation):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        within_memory(broken, 12)


def test_an_offloaded_model_is_not_trained():
    with pytest.raises(DialsumError, match="offloaded to the disk"):
        refuse_offload(skeleton(card("kobart")))
    model = torch.nn.Linear(2, 2)
    refuse_offload(model)
    model.hf_device_map = {"layers.0": "cuda:0", "layers.1": "cpu"}
    with pytest.raises(DialsumError, match="offloaded to the CPU"):
        refuse_offload(model)


def test_memory_is_there():
    assert available_memory("cpu") > 2**26


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library has no malloc_trim: not glibc"
)
def test_freed_memory_goes_back_to_the_machine():
    blocks = [bytearray(100_000) for _ in range(2000)]  # each below the size that glibc maps by itself
    del blocks[:-1]  # the last one keeps the heap from shrinking
    before = psutil.Process().memory_info().rss
    release_memory()
    assert before - psutil.Process().memory_info().rss > 1000 * 100_000


def test_a_step_is_simulated_once_for_all_processes_and_sizes(monkeypatch, tmp_path):
    from dialsum.models import memory, simulation

    def peak(batch, length=32, method="lora"):
        memory._moments.cache_clear()  # as in another process
        step = TrainingStep(batch, length, 16, method=method, weights="bfloat16")
        return memory.peak_of_step(tiny(), step, "cpu")

    monkeypatch.setenv("DIALSUM_CACHE", str(tmp_path))
    first = peak(2)
    monkeypatch.setattr(simulation, "_all_layers", None)  # would fail if it were called
    assert peak(2) == first and peak(4)["activations"] > first["activations"]
    assert peak(2, length=48)["activations"] > first["activations"]
    with pytest.raises(TypeError):
        peak(2, method="qlora")


def test_out_of_memory_another_process_s_rows_are_not_left_out():
    tried = []

    def train(batch, accumulation):
        tried.append((batch, accumulation))
        raise MemoryError

    with pytest.raises(DialsumError):
        within_memory(train, 8, 1, at_once=2)  # each of four processes learns two of them
    assert tried == [(8, 1), (1, 8)]
