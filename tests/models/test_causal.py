"Causal models that read each dialogue once: what is counted is work, on toys of random weights"

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from dialsum.generation.causal import CausalBatch, ReadDialogues, _look, _Part, _room, looking, read_dialogues
from dialsum.generation.decoding import Decoding
from dialsum.generation.engines import _processors
from dialsum.generation.factory import engine
from dialsum.generation.greedy import write_greedily
from dialsum.generation.turned_head import WORDS, can_be_turned, head_turned, turned
from dialsum.models.cards import card
from dialsum.models.checkpoints import locate
from dialsum.runs.errors import DialsumError

SIZES = dict(vocab_size=99, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
GROUPED = dict(num_key_value_heads=2, head_dim=8, max_position_embeddings=128)
WINDOW = dict(sliding_window=5, layer_types=["sliding_attention", "full_attention"])
TOYS = dict(
    gemma3_text=SIZES | GROUPED | WINDOW, gpt_neox=SIZES, llama=SIZES | GROUPED, qwen3=SIZES | GROUPED
)
INSTRUCTION = [5, 6, 7, 8]
PROMPTS = [[*INSTRUCTION, *range(10, 10 + n)] for n in (30, 22, 9, 2, 1)]
every_toy = pytest.mark.parametrize("name", TOYS)


def toy(name):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **TOYS[name])).eval()
    for parameter in model.parameters():
        parameter.data.mul_(3)  # so that scores differ by more than rounding
    return model


def unchanged(rows):
    return lambda ids, scores: scores


def ends_where(rows_end):
    "For each row, the step at which its end becomes certain"

    def processors(rows):
        def change(ids, scores):
            for i, row in enumerate(rows):
                scores[i, 3] = 1e9 if ids.shape[1] == rows_end[row] - 1 else -1e9
            return scores

        return change

    return processors


@pytest.fixture
def fed(monkeypatch):
    "Shapes of what a model's body is given, in order"

    def count(model):
        shapes, forward = [], model.get_decoder().forward

        def counted(*args, **options):
            shapes.append(tuple(options["input_ids"].shape))
            return forward(*args, **options)

        monkeypatch.setattr(model.get_decoder(), "forward", counted)
        return shapes

    return count


@torch.inference_mode()
def test_what_all_begin_with_is_read_once(fed):
    model = toy("llama")
    shapes = fed(model)
    read_dialogues(model, PROMPTS, 0, 1)
    widest = max(map(len, PROMPTS)) - len(INSTRUCTION) - 1
    assert shapes == [(1, len(INSTRUCTION)), (len(PROMPTS), widest)]


@torch.inference_mode()
def test_who_has_ended_is_computed_no_more(fed):
    model = toy("qwen3")
    shapes = fed(model)
    rows_end = [2, 6, 3, 6, 4]
    outputs = write_greedily(CausalBatch(model, PROMPTS, 0, 10), [3], 10, ends_where(rows_end))
    assert list(map(len, outputs)) == rows_end
    steps = [rows for rows, width in shapes[2:]]
    assert steps == [sum(end > step for end in rows_end) for step in range(6)]


@every_toy
@torch.inference_mode()
def test_each_sees_what_it_sees_alone_with_beams_beside_one_another(name):
    model = toy(name)
    beams = 3
    cache = read_dialogues(model, PROMPTS, 0, 8 * beams)
    more = torch.arange(40, 40 + 7 * len(PROMPTS) * beams).view(-1, 7) % 99  # each beam goes on differently
    newest = torch.tensor([p[-1:] for p in PROMPTS]).repeat_interleave(beams, 0)
    position = torch.tensor([[len(p) - 1] for p in PROMPTS]).repeat_interleave(beams, 0)
    with looking(model):
        for step in range(8):
            told = model(input_ids=newest, position_ids=position + step, past_key_values=cache).logits[:, -1]
            newest = more[:, step : step + 1]
    for i, prompt in enumerate(PROMPTS):
        for beam in range(i * beams, (i + 1) * beams):
            alone = model(torch.tensor([[*prompt, *more[beam, :7].tolist()]])).logits[0, -1]
            assert torch.allclose(told[beam], alone, atol=1e-3), (prompt, beam)


@every_toy
@torch.inference_mode()
def test_beams_that_overtake_one_another_take_along_what_they_wrote(name):
    model = toy(name)
    beams = 3
    cache = read_dialogues(model, PROMPTS, 0, 10 * beams)
    rooms = [room for part in cache.parts for room in part.rooms]
    lie_at = [states.data_ptr() for room in rooms for states in (room.keys, room.values)]
    options = GenerationConfig(max_new_tokens=10, num_beams=beams, eos_token_id=[3], pad_token_id=0)
    width = max(map(len, PROMPTS))
    ids = torch.tensor([[0] * (width - len(p)) + p for p in PROMPTS])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in PROMPTS])
    plain = model.generate(ids, attention_mask=mask, generation_config=options)
    with looking(model):
        ours = model.generate(ids, attention_mask=mask, generation_config=options, past_key_values=cache)
    assert ours.tolist() == plain.tolist()
    rooms = [room for part in cache.parts for room in part.rooms]  # neither copied for beams nor moved
    assert lie_at == [states.data_ptr() for room in rooms for states in (room.keys, room.values)]


@torch.inference_mode()
def test_afterwards_the_model_is_as_before():
    model = toy("llama")
    usual = model.config._attn_implementation
    write_greedily(CausalBatch(model, PROMPTS, 0, 3), [3], 3, unchanged)
    assert model.config._attn_implementation == usual
    with pytest.raises(ZeroDivisionError), looking(model), head_turned(model):
        raise ZeroDivisionError
    assert model.config._attn_implementation == usual
    assert not any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize("rows", [1, 2, 33, 300])
@torch.inference_mode()
def test_a_turned_head_gives_the_same_scores(rows, monkeypatch):
    model = toy("qwen3")
    model.lm_head = torch.nn.Linear(32, WORDS)
    states, calls = torch.randn(rows, 32), []
    straight = model.lm_head(states)
    monkeypatch.setattr("dialsum.generation.turned_head.turned", lambda *a: calls.append(a) or turned(*a))
    with head_turned(model):
        assert torch.allclose(model.lm_head(states), straight, atol=1e-5)
    assert len(calls) == (1 < rows <= 64)  # shapes alone decide
    assert not can_be_turned(torch.nn.Linear(32, 99))
    assert not can_be_turned(torch.nn.Linear(32, WORDS).to(torch.bfloat16))


def test_half_precision_looks_as_exactly_as_torch_does():
    torch.manual_seed(0)
    rows, heads, width, size = 3, 2, 60, 16
    query = torch.randn(rows, 4, 1, size) * 3
    keys, values = torch.randn(rows, heads, width + 1, size) * 3, torch.randn(rows, heads, width + 1, size)
    exact = torch.nn.functional.scaled_dot_product_attention(
        query.bfloat16().double(), keys.bfloat16().double(), values.bfloat16().double(), enable_gqa=True
    ).transpose(1, 2)
    half = [x.bfloat16() for x in (query, keys, values)]
    usual = torch.nn.functional.scaled_dot_product_attention(*half, enable_gqa=True).transpose(1, 2)
    read = _room(half[1][:, :, :-1], half[2][:, :, :-1], 1)
    cache = ReadDialogues([_Part(torch.ones(rows, width, dtype=torch.bool), [read])], width)
    cache.update(half[1][:, :, -1:], half[2][:, :, -1:], 0)
    ours, _ = _look(SimpleNamespace(layer_idx=0), half[0], cache, cache, None, size**-0.5)
    assert ours.dtype == torch.bfloat16
    assert (ours.double() - exact).abs().mean() < 1.5 * (usual.double() - exact).abs().mean()


def test_processors_stand_on_the_device_of_the_scores():
    d = Decoding(max_new_tokens=8, min_new_tokens=4)
    (shortest,) = _processors(d, [], [], [3], torch.device("meta"), None, [0])
    assert shortest.eos_token_id.device.type == "meta"


@pytest.mark.parametrize("batch_size", [1, 2])
def test_chance_begins_once_for_a_call_and_not_for_each_group(batch_size, monkeypatch):
    qwen = card("qwen3-4b")
    made = engine("hf", qwen, locate(qwen, "replica"), batch_size, loading=dict(device="cpu"))
    seeds, seed = [], torch.manual_seed
    monkeypatch.setattr(torch, "manual_seed", lambda number: seeds.append(number) or seed(number))
    made.predict_batch(["#Person1#: 안녕하세요."] * 4, temperature=1.0, max_new_tokens=2)
    assert seeds == [42]
    made.predict_batch(["#Person1#: 안녕하세요."], temperature=1.0, max_new_tokens=2)
    assert seeds == [42, 42]
    with pytest.raises(DialsumError):
        made.predict_batch([], nonsense=1)
