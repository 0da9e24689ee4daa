"Beam search of our own: it writes what transformers' writes, and computes no dialogue that has ended; toys of random weights"

from functools import partial

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
    LogitsProcessorList,
)

from dialsum.generation.bart import BartBatch
from dialsum.generation.beams import BLOCK_WORDS, best_words, write_with_beams
from dialsum.generation.causal import CausalBatch
from dialsum.generation.decoding import Decoding, band_processor, penalty_processors
from dialsum.generation.engines import _processors

TOKENS, PAD = 14, 0
ENDS = list(range(3, 99, 12))
DIALOGUES = [[2, *range(10, 10 + n)] for n in (30, 22, 9, 9, 2, 1, 25, 17, 12, 5)]
SIZES = dict(vocab_size=99, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
GROUPED = dict(num_key_value_heads=2, head_dim=8, max_position_embeddings=128)
CAUSAL = dict(gpt_neox=SIZES, qwen3=SIZES | GROUPED)


def toy(name):
    torch.manual_seed(0)
    if name == "bart":
        sizes = dict(
            vocab_size=99, d_model=32, encoder_layers=2, decoder_layers=2, max_position_embeddings=64
        )
        heads = dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4)
        widths = dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 48)
        ids = dict(decoder_start_token_id=2, eos_token_id=3, pad_token_id=PAD, bos_token_id=2)
        ids |= dict(forced_eos_token_id=None)  # else the last word is no matter of scores
        model = BartForConditionalGeneration(BartConfig(**sizes, **heads, **widths, **ids)).eval()
    else:
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **CAUSAL[name])).eval()
    for parameter in model.parameters():
        parameter.data.mul_(8 if name == "bart" else 3)  # so that scores differ by more than rounding
    return model


def usual(model, dialogue, beams, length_penalty, change):
    "What transformers writes of one dialogue"
    ids = torch.tensor([dialogue])
    config = GenerationConfig(
        max_new_tokens=TOKENS,
        num_beams=beams,
        early_stopping=True,
        length_penalty=length_penalty,
        eos_token_id=ENDS,
        pad_token_id=PAD,
        decoder_start_token_id=2,
    )
    width = 1 if model.config.is_encoder_decoder else len(dialogue)
    processors = LogitsProcessorList([lambda ids, scores: change(ids[:, width:], scores)])
    written = model.generate(
        ids, attention_mask=torch.ones_like(ids), generation_config=config, logits_processor=processors
    )
    return written[0, width:].tolist()


def batch_of(model, beams):
    kind = BartBatch if model.config.is_encoder_decoder else CausalBatch
    return kind(model, DIALOGUES, PAD, TOKENS, beams)


def unchanged(dialogues):
    return lambda ids, scores: scores


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("beams", [2, 4])
@pytest.mark.parametrize("name", ["bart", *CAUSAL])
@torch.inference_mode()
def test_it_writes_what_transformers_writes_of_each_dialogue_alone(name, beams, length_penalty):
    model = toy(name)
    written = write_with_beams(batch_of(model, beams), ENDS, TOKENS, length_penalty, unchanged)
    alone = [usual(model, d, beams, length_penalty, lambda ids, scores: scores) for d in DIALOGUES]
    assert written == alone


@pytest.mark.parametrize("name", ["bart", "qwen3"])
@torch.inference_mode()
def test_what_changes_scores_is_told_whose_they_are(name):
    model, beams = toy(name), 3
    bands = [(i % 4, 5 + i) for i in range(len(DIALOGUES))]
    penalties = penalty_processors(Decoding(no_repeat_ngram_size=2, repetition_penalty=1.3), [11, 12], 0)

    def changes(dialogues):
        return LogitsProcessorList([*penalties, band_processor([bands[i] for i in dialogues], ENDS, 0)])

    written = write_with_beams(batch_of(model, beams), ENDS, TOKENS, 1.0, changes)
    alone = [usual(model, d, beams, 1.0, changes([i])) for i, d in enumerate(DIALOGUES)]
    assert written == alone
    for ids, (least, most) in zip(written, bands):
        assert least < len(ids) <= most + 1


@pytest.mark.parametrize("length_penalty", [-1.0, 1.0])
@torch.inference_mode()
def test_options_of_ours_change_it_as_they_change_transformers(length_penalty):
    "A least length, and an end that is forced where a summary takes every token, as an engine asks for them"
    model, d = toy("bart"), Decoding(num_beams=3, max_new_tokens=TOKENS, min_new_tokens=5)
    changes = partial(_processors, d, [], [], ENDS, "cpu", ENDS[0])
    written = write_with_beams(batch_of(model, 3), ENDS, TOKENS, length_penalty, changes)
    assert written == [usual(model, dialogue, 3, length_penalty, changes([0])) for dialogue in DIALOGUES]
    assert all(len(ids) > 5 and (len(ids) < TOKENS or ids[-1] in ENDS) for ids in written)


@torch.inference_mode()
def test_a_dialogue_that_is_done_is_computed_no_more(monkeypatch):
    model, rows = toy("bart"), []
    forward = model.get_decoder().forward

    def counted(*args, **options):
        rows.append(len(options["input_ids"]))
        return forward(*args, **options)

    def ending(dialogues):
        def change(ids, scores):
            for place, dialogue in enumerate(dialogues):
                is_last = ids.shape[1] == dialogue
                scores[place * 2 : place * 2 + 2, ENDS] = 1e6 if is_last else -1e6
            return scores

        return change

    monkeypatch.setattr(model.get_decoder(), "forward", counted)
    written = write_with_beams(batch_of(model, 2), ENDS, TOKENS, 1.0, ending)
    assert [len(ids) for ids in written] == [i + 1 for i in range(len(DIALOGUES))]
    assert rows == [2 * (len(DIALOGUES) - step) for step in range(len(DIALOGUES))]


@pytest.mark.parametrize(
    "words", [5, BLOCK_WORDS, 16 * BLOCK_WORDS - 1, 16 * BLOCK_WORDS, 50 * BLOCK_WORDS + 7]
)
def test_the_best_words_are_those_of_topk(words):
    scores = torch.randn(6, words, generator=torch.Generator().manual_seed(words))
    scores[1, 3:] = -float("inf")
    scores[2] = scores[2].sort().values  # all of the best in the last blocks
    for ours, theirs in zip(best_words(scores, 5), scores.topk(5)):
        assert torch.equal(ours[scores.topk(5).values.isfinite()], theirs[scores.topk(5).values.isfinite()])
