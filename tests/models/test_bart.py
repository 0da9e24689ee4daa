"An encoder-decoder that reads each dialogue once, and whose beams move nothing: what is counted is work, on toys of random weights"

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration, GenerationConfig

from dialsum.generation.bart import BartBatch, Written, encode_dialogues, reading, seeing
from dialsum.generation.decoding import Decoding
from dialsum.generation.engines import _processors
from dialsum.generation.greedy import write_greedily

START, END, PAD = 2, 3, 0
DIALOGUES = [
    [*range(10, 10 + n), END] for n in (30, 22, 9, 9, 2, 1, 25, 17, 12, 5)
]  # more than are read at once
BEAMS = 3


@pytest.fixture
def toy():
    torch.manual_seed(0)
    sizes = dict(vocab_size=99, d_model=32, encoder_layers=2, decoder_layers=2, max_position_embeddings=64)
    heads = dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4)
    widths = dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 48)
    ids = dict(decoder_start_token_id=START, eos_token_id=END, pad_token_id=PAD, bos_token_id=START)
    model = BartForConditionalGeneration(BartConfig(**sizes, **heads, **widths, **ids)).eval()
    for parameter in model.parameters():
        parameter.data.mul_(30)  # so that scores differ by more than rounding
    return model


def ended_at(lengths):
    "For each dialogue, the step at which its end becomes certain"

    def processors(rows):
        def change(ids, scores):
            for i, row in enumerate(rows):
                scores[i, END] = 1e9 if ids.shape[1] == lengths[row] - 1 else -1e9
            return scores

        return change

    return processors


def decoded(toy, ids, **options):
    return toy.get_decoder()(ids, **options).last_hidden_state[:, -1]


@torch.inference_mode()
def test_beams_that_overtake_one_another_see_what_they_wrote_and_nothing_is_moved(toy):
    count, chance = len(DIALOGUES) * BEAMS, torch.Generator().manual_seed(0)
    by_layer = encode_dialogues(toy, DIALOGUES, PAD)
    written = Written(len(by_layer), [len(part.keys) for part in by_layer[0]], 8)
    nothing = dict(encoder_hidden_states=torch.zeros(count, 1, 1), past_key_values=written, use_cache=True)
    paths, places = [[] for _ in range(count)], set()
    with seeing(toy, by_layer, written):
        for _ in range(8):
            newest = torch.randint(4, 99, (count, 1), generator=chance)
            paths = [[*path, *ids] for path, ids in zip(paths, newest.tolist())]
            told, followed = decoded(toy, newest, **nothing), list(paths)
            parents = torch.randint(BEAMS, (count,), generator=chance)
            parents += torch.arange(count) // BEAMS * BEAMS
            written.reorder_cache(parents)
            paths = [paths[parent] for parent in parents]
            rooms = [room for rooms in written.rooms for room in rooms]
            places.add(tuple(states.data_ptr() for room in rooms for states in (room.keys, room.values)))
    for row, path in enumerate(followed):
        states = toy.get_encoder()(torch.tensor([DIALOGUES[row // BEAMS]])).last_hidden_state
        alone = decoded(toy, torch.tensor([path]), encoder_hidden_states=states)
        assert torch.allclose(told[row], alone[0], atol=1e-3), (row, path)
    assert len(places) == 1


@torch.inference_mode()
def test_generate_takes_it_for_a_cache(toy):
    options = dict(decoder_start_token_id=START, eos_token_id=END, pad_token_id=PAD, forced_eos_token_id=END)
    beams = GenerationConfig(max_new_tokens=12, num_beams=BEAMS, **options)
    with reading(toy, DIALOGUES, PAD, 12) as given:
        toy.generate(**given, generation_config=beams)
        used = given["past_key_values"]
    assert used.visible.count and all(
        sum(len(room.keys) for room in rooms) == len(DIALOGUES) for rooms in used.rooms
    )


def test_a_summary_that_takes_every_token_ends():
    d = Decoding(max_new_tokens=5, min_new_tokens=2)
    change = _processors(d, [], [], [END, 7], "cpu", END, [0])
    scores = torch.arange(9.0)[None]
    assert change(torch.tensor([[5] * 4]), scores.clone()).argmax() == END
    assert torch.equal(change(torch.tensor([[5] * 3]), scores.clone()), scores)
    assert change(torch.tensor([[5]]), scores.clone())[0, [END, 7]].isinf().all()


@torch.inference_mode()
def test_who_has_ended_is_computed_no_more(toy, monkeypatch):
    lengths = [2, 6, 3, 6, 4, 1, 2, 6, 5, 5]
    rows, forward = [], toy.get_decoder().forward

    def counted(*args, **options):
        rows.append(len(options["input_ids"]))
        return forward(*args, **options)

    monkeypatch.setattr(toy.get_decoder(), "forward", counted)
    outputs = write_greedily(BartBatch(toy, DIALOGUES, PAD, 10), [END], 10, ended_at(lengths))
    assert list(map(len, outputs)) == lengths
    assert rows == [sum(length > step for length in lengths) for step in range(6)]


@torch.inference_mode()
def test_who_goes_on_writes_what_it_writes_alone(toy):
    lengths = [2, 9, 3, 9, 4, 1, 2, 9, 5, 5]
    together = write_greedily(BartBatch(toy, DIALOGUES, PAD, 9), [END], 9, ended_at(lengths))
    for i, dialogue in enumerate(DIALOGUES):
        batch = BartBatch(toy, [dialogue], PAD, 9)
        assert write_greedily(batch, [END], 9, ended_at([lengths[i]])) == [together[i]]


@torch.inference_mode()
def test_dialogues_are_read_once_beside_a_few_of_their_length(toy, monkeypatch):
    shapes, forward = [], toy.get_encoder().forward

    def counted(**options):
        shapes.append(tuple(options["input_ids"].shape))
        return forward(**options)

    monkeypatch.setattr(toy.get_encoder(), "forward", counted)
    encode_dialogues(toy, DIALOGUES, PAD)
    assert shapes == [(8, len(DIALOGUES[0])), (2, len(DIALOGUES[8]))]


@torch.inference_mode()
def test_afterwards_the_model_is_as_before(toy):
    usual = toy.config._attn_implementation
    with pytest.raises(ZeroDivisionError), reading(toy, DIALOGUES, PAD, 4):
        raise ZeroDivisionError
    assert toy.config._attn_implementation == usual
    assert not any("forward" in vars(module) for module in toy.modules())
