"The Predictor's calls: every option is followed or refused by its name, every text is one or is refused"

import functools
from pathlib import Path

import pandas as pd
import pytest
from transformers import GenerationConfig

from dialsum.data.dialogues import read
from dialsum.generation.decoding import REFUSED, Decoding
from dialsum.generation.predictor import Predictor, create_predictor
from dialsum.models.cards import CARDS, card
from dialsum.models.loading import load
from dialsum.models.replicas import replica
from dialsum.runs.errors import DialsumError
from dialsum.runs.places import sample_path

DIALOGUE = "#Person1#: 안녕하세요, 내일 뵐까요?\n#Person2#: 네, 세 시에 뵐게요."


@functools.cache
def predictor(name="qwen3-4b"):
    "A livelier toy, so that what it writes depends on what it reads"
    import torch

    loaded = load(card(name), str(replica(card(name))))
    with torch.no_grad():
        for p in loaded.model.parameters():
            p.mul_(1.5)
    return Predictor(loaded, 4, decoding=Decoding(max_new_tokens=6))


def config_of(name="qwen3-4b", **options):
    "What transformers is given of a call"
    p = predictor(name)
    return p._config(p._call_decoding(options))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(num_return_sequences=2), "num_return_sequences=2 cannot be followed"),
        (dict(num_beams=4, num_beam_groups=2, diversity_penalty=0.5), "num_beam_groups=2"),
        (dict(return_dict_in_generate=True), "return_dict_in_generate=True"),
        (dict(output_scores=True), "output_scores"),
        (dict(pad_token_id=3), "pad_token_id"),
        (dict(penalty_alpha=0.6), "penalty_alpha"),
        (dict(encoder_no_repeat_ngram_size=3), "break the tags"),
        (dict(prompt_lookup_num_tokens=2), "one dialogue at a time"),
        (dict(early_stopping=True), "early_stopping acts only with beams"),
        (dict(length_penalty=2.0), "length_penalty acts only with beams"),
        (dict(min_p=0.1), "min_p acts only when sampling"),
        (dict(top_k=5), "top_k acts only when sampling"),
        (dict(do_sample=True, temperature=0), "do_sample is True and temperature is 0"),
        (dict(do_sample=False, top_p=0.9), "top_p acts only"),
        (dict(max_length=5, max_new_tokens=7), "max_length is 5 and max_new_tokens is 7"),
        (dict(max_length=5, min_length=8), "min_new_tokens is 8: at most 5"),
        (dict(num_beam=4), "did you mean 'num_beams'"),
        (dict(max_cache_len=99), "max_cache_len acts only with a static cache"),
        (dict(guidance_scale="x"), "transformers cannot follow guidance_scale"),
    ],
)
def test_an_option_that_cannot_be_followed_is_refused_by_its_name(options, words):
    with pytest.raises(DialsumError, match=words):
        predictor().predict_batch([DIALOGUE], **options)


def test_options_are_followed():
    assert (config_of(max_length=5).max_new_tokens, config_of(min_length=2).min_new_tokens) == (5, 2)
    assert config_of(eos_token_id=5).eos_token_id == [5] and config_of(eos_token_id=[5, 7]).eos_token_id == [
        5,
        7,
    ]
    found = config_of(do_sample=True)
    assert found.do_sample and found.temperature == 1 and not config_of().do_sample
    assert config_of(do_sample=True, temperature=0.7).temperature == 0.7
    given = dict(
        max_length=100, num_beams=4, early_stopping=True, no_repeat_ngram_size=2, length_penalty=1.0
    )  # the usual table
    found = config_of("kobart", **given)
    assert (found.max_new_tokens, found.num_beams, found.early_stopping, found.length_penalty) == (
        100,
        4,
        True,
        1.0,
    )
    assert config_of("kobart", num_beams=2, early_stopping="never").early_stopping == "never"
    assert predictor("kobart")._call_decoding(given).no_repeat_ngram_size == 2
    plain = predictor().predict_batch([DIALOGUE])
    for same in (
        dict(num_return_sequences=1),
        dict(return_dict_in_generate=False),
        dict(num_beam_groups=1),
        dict(temperature=None),
        dict(max_length=6),
        dict(max_new_tokens=0),
        dict(do_sample=False),
    ):
        assert predictor().predict_batch([DIALOGUE], **same) == plain


def used(name, **options):
    "The search that generate is given in a call: (transformers' configuration, ours)"
    p, seen = predictor(name), []
    generate = p.loaded.model.generate

    def watched(**given):
        seen.append(given["generation_config"])
        return generate(**given)

    p.loaded.model.generate = watched
    try:
        assert len(p.predict_batch([DIALOGUE], **options)) == 1
    finally:
        del p.loaded.model.generate
    return seen[0], p._call_decoding(options)


FOLLOWED = dict(  # of both architectures: option → (values of a call that asks for it, where it arrives, what arrives there)
    max_length=(dict(max_length=5), "max_new_tokens", 5),
    max_new_tokens=(dict(max_new_tokens=5), "max_new_tokens", 5),
    min_length=(dict(min_length=1), "min_new_tokens", 1),
    min_new_tokens=(dict(min_new_tokens=1), "min_new_tokens", 1),
    do_sample=(dict(do_sample=True), "do_sample", True),
    temperature=(dict(temperature=0.8), "temperature", 0.8),
    num_beams=(dict(num_beams=2), "num_beams", 2),
    early_stopping=(dict(early_stopping="never", num_beams=2), "early_stopping", "never"),
    length_penalty=(dict(length_penalty=0.5, num_beams=2), "length_penalty", 0.5),
    eos_token_id=(dict(eos_token_id=5), "eos_token_id", [5]),
    cache_config=(dict(cache_config=dict(nbits=4)), None, "acts only with a quantized cache"),
    max_cache_len=(dict(max_cache_len=9999, cache_implementation="static"), "max_cache_len", 9999),
    **{
        name: (dict(temperature=1.0) | {name: value}, name, value)
        for name, value in dict(
            top_k=5, top_p=0.5, min_p=0.5, top_h=0.5, typical_p=0.5, epsilon_cutoff=0.1, eta_cutoff=0.1
        ).items()
    },
    **{
        name: ({name: value}, name, value)
        for name, value in dict(
            max_time=9.0,
            stop_strings=["요"],
            use_cache=False,
            cache_implementation="static",
            bad_words_ids=[[5]],
            renormalize_logits=True,
            forced_eos_token_id=5,
            remove_invalid_values=True,
            exponential_decay_length_penalty=(2, 1.1),
            suppress_tokens=[5],
            begin_suppress_tokens=[5],
            sequence_bias=[[[5], -9.0]],
            disable_compile=True,
        ).items()
    },
)
OWN = dict(repetition_penalty=1.2, no_repeat_ngram_size=2)  # applied here, so that tags are spared
OF_ONE = {  # architecture → options that act only with it
    "kobart": dict(forced_bos_token_id=5, decoder_start_token_id=3),
    "qwen3-4b": dict(guidance_scale=1.5, prefill_chunk_size=4),
}
LEFT = (
    "watermarking_config",
    "compile_config",
)  # what transformers itself cannot follow with this model or this value


def test_every_option_of_transformers_is_followed_or_refused_by_a_sentence():
    known = {name for name in GenerationConfig().to_dict() if name[0] != "_"}
    of_one = {name for options in OF_ONE.values() for name in options}
    lists = [set(FOLLOWED), set(OWN), of_one, set(REFUSED) & known, set(LEFT)]
    assert set.union(*lists) == known and sum(map(len, lists)) == len(known)


@pytest.mark.parametrize("model", OF_ONE)
def test_what_is_followed_arrives_in_the_search(model):
    for name, (options, place, value) in FOLLOWED.items():
        if place:
            assert getattr(used(model, **options)[0], place) == value, name
        else:
            with pytest.raises(DialsumError, match=f"{name} {value}"):
                used(model, **options)
    for name, value in OWN.items():
        theirs, ours = used(model, **{name: value})
        assert getattr(theirs, name) is None and getattr(ours, name) == value
    for name, value in OF_ONE[model].items():
        assert getattr(used(model, **{name: value})[0], name) == value


@pytest.mark.parametrize("model", OF_ONE)
def test_what_is_not_followed_is_refused_by_its_name(model):
    others = {
        name: value for other, options in OF_ONE.items() if other != model for name, value in options.items()
    }
    for name in others:
        with pytest.raises(DialsumError, match=f"{name} acts only with"):
            used(model, **{name: others[name]})
    for name in (*LEFT, *(n for n in REFUSED if n in GenerationConfig().to_dict())):
        with pytest.raises(DialsumError, match=name):
            used(model, **{name: 0.5})


@pytest.mark.parametrize(
    "name",
    [
        "num_beams",
        "min_length",
        "max_length",
        "min_new_tokens",
        "max_new_tokens",
        "no_repeat_ngram_size",
        "top_k",
    ],
)
def test_a_fraction_of_what_is_counted_is_refused(name):
    more = dict(temperature=1.0) if name == "top_k" else {}
    with pytest.raises(DialsumError, match="a whole number"):
        predictor().predict_batch([DIALOGUE], **{name: 2.5}, **more)


def test_what_a_call_changes_is_for_that_call():
    p, texts = predictor(), list(read(sample_path() / "test.csv")["dialogue"][:5])
    sizes, generate = [], p.loaded.model.generate

    def counted(**given):
        sizes.append(len(given["input_ids"]))
        return generate(**given)

    p.loaded.model.generate = counted
    try:
        alone = p.predict_batch(texts, batch_size=1)
        assert sizes == [1] * 5 and p.batch_size == 4
        assert (
            p.predict_batch(texts, batch_size=5, show_progress=True) == alone
            and sizes[5:] == [5]
            and p.batch_size == 4
        )
    finally:
        del p.loaded.model.generate
    with pytest.raises(DialsumError, match="batch_size is -1"):
        p.predict_batch(texts, batch_size=-1)
    with pytest.raises(DialsumError, match=r"predict_batch\(texts, batch_size=32\)"):
        p.predict_batch(texts, 32)


def test_progress_is_drawn_where_it_is_asked_for(capsys):
    predictor().predict_batch([DIALOGUE] * 3, batch_size=2)
    assert "3/3" not in capsys.readouterr().err
    predictor().predict_batch([DIALOGUE] * 3, batch_size=2, show_progress=True)
    assert "3/3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (DIALOGUE, r"call predict_single\(text\)"),
        ([None], "dialogue 0 is None"),
        ([DIALOGUE, float("nan")], "dialogue 1 is nan"),
        (["  \n"], "dialogue 0 is empty"),
        ([DIALOGUE + "\ud83d"], "dialogue 0 holds half of a character"),
    ],
)
def test_what_is_no_dialogue_is_refused(texts, words):
    with pytest.raises(DialsumError, match=words):
        predictor().predict_batch(texts)


def test_line_ends_of_other_systems_make_no_difference():
    p, other = predictor(), DIALOGUE.replace("\n", "\r\n")
    assert p.codec.source(other) == p.codec.source(DIALOGUE) == p.codec.source(DIALOGUE.replace("\n", "\r"))
    assert p.predict_single(other) == p.predict_single(DIALOGUE)
    assert p.predict_batch([]) == []


def test_a_frame_is_predicted_or_told_what_it_lacks(tmp_path):
    p, frame = (
        predictor(),
        pd.DataFrame(dict(fname=["a", "b"], dialogue=[DIALOGUE, DIALOGUE + "\n#Person1#: 좋아요."])),
    )
    ours, theirs = tmp_path / "ours.csv", tmp_path / "new" / "theirs.csv"
    assert p.create_submission(frame, ours, batch_size=1).equals(
        p.create_submission(test_df=frame, output_path=str(theirs), batch_size=32, show_progress=True)
    )
    assert ours.read_bytes() == theirs.read_bytes() and list(pd.read_csv(ours, index_col=0).columns) == [
        "fname",
        "summary",
    ]
    with pytest.raises(DialsumError, match=r"create_submission\(frame, path\)"):
        p.create_submission(frame)
    with pytest.raises(DialsumError, match="no column 'fname'"):
        p.predict_dataframe(frame.drop(columns="fname"))
    for nothing in (float("nan"), None, ""):
        with pytest.raises(DialsumError, match="the dialogue of b is missing"):
            p.predict_dataframe(frame.assign(dialogue=[DIALOGUE, nothing]))


def test_a_model_that_is_loaded_already():
    loaded = predictor("kobart").loaded
    assert create_predictor(
        loaded.model, loaded.tokenizer, decoding=Decoding(max_new_tokens=6)
    ).predict_single(DIALOGUE) == predictor("kobart").predict_single(DIALOGUE)
    with pytest.raises(DialsumError, match=r"create_predictor\(model, tokenizer\)"):
        Predictor(loaded.model, loaded.tokenizer)
    for name in (
        "llama-3.2-korean-3b",
        "solar-10.7b",
        "qwen3-4b",
        "qwen3-14b",
    ):  # of one architecture, told apart by their numbers
        loaded = load(card(name), str(replica(card(name))))
        assert create_predictor(loaded.model, loaded.tokenizer).loaded.card.name == name
    kullm = load(card("kullm"), str(replica(card("kullm"))))
    with pytest.raises(DialsumError, match="may be polyglot-ko-12.8b or kullm-v2"):
        create_predictor(kullm.model, kullm.tokenizer)


def test_the_options_of_a_call_reach_other_engines(tmp_path):
    from dialsum.generation.factory import engine

    p = predictor("kobart")
    fast = engine(
        "hf",
        card("kobart"),
        str(replica(card("kobart"))),
        4,
        decoding=Decoding(max_new_tokens=6),
        loading=dict(device="cpu"),
    )
    assert len(fast.predict_batch([DIALOGUE] * 3, batch_size=2)) == 3 and fast.batch_size == 4
    with pytest.raises(DialsumError, match="num_return_sequences"):
        fast.predict_batch([DIALOGUE], num_return_sequences=2)
    with pytest.raises(DialsumError, match="predict_single"):
        fast.predict_batch(DIALOGUE)
    assert p.limits.max_new_tokens == 6


def fast(size=4):
    "Another engine, which takes the same calls"
    from dialsum.generation.factory import engine

    return engine(
        "hf",
        card("kobart"),
        str(replica(card("kobart"))),
        size,
        decoding=Decoding(max_new_tokens=6),
        loading=dict(device="cpu"),
    )


ENGINES = dict(predictor=predictor, engine=fast)
FRAME = pd.DataFrame(dict(fname=["a", "b"], dialogue=[DIALOGUE, DIALOGUE]))


@pytest.mark.parametrize("made", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (FRAME, r"DataFrame was given: call predict_dataframe\(frame\)"),
        (dict(a=DIALOGUE), r"dict was given: call predict_dataframe"),
        (FRAME.iterrows, "method was given"),
        ({DIALOGUE}, "set was given"),
        (3, "int was given"),
        (None, "NoneType was given"),
        ([FRAME], "dialogue 0 is a DataFrame"),
        ([[DIALOGUE]], "dialogue 0 is"),
    ],
)
def test_what_is_no_list_of_dialogues_is_refused(made, texts, words):
    with pytest.raises(DialsumError, match=words):
        made().predict_batch(texts)


def test_what_lists_its_texts_is_taken():
    p = predictor()
    plain = p.predict_batch([DIALOGUE] * 2)
    for texts in (
        FRAME["dialogue"],
        tuple(FRAME["dialogue"]),
        FRAME["dialogue"].to_numpy(),
        (text for text in [DIALOGUE] * 2),
    ):
        assert p.predict_batch(texts) == plain


@pytest.mark.parametrize("size", [2.5, "a", None, float("nan"), -1, []])
def test_a_batch_size_that_is_no_number_of_dialogues_is_refused(size):
    for made in ENGINES.values():
        with pytest.raises(DialsumError, match="batch_size is .*number.* of at least 1"):
            made().predict_batch([DIALOGUE], batch_size=size)
    with pytest.raises(DialsumError, match="batch_size is"):
        fast(size)
    with pytest.raises(DialsumError, match="batch_size is"):
        Predictor(predictor().loaded, size)


def test_numbers_of_other_libraries_are_taken():
    import numpy as np

    assert (
        predictor().predict_batch([DIALOGUE], batch_size=np.int64(2))
        and Predictor(predictor().loaded, np.int32(2)).batch_size == 2
    )


@pytest.mark.parametrize(
    ("instructions", "words"),
    [
        (["{dialogue}"], "1 instructions for 2 dialogues"),
        ("{dialogue}", "str was given"),
        ([None, 3], "instruction 0 is None"),
    ],
)
def test_instructions_that_are_not_one_for_each_dialogue_are_refused(instructions, words):
    with pytest.raises(DialsumError, match=words):
        predictor().predict_batch([DIALOGUE] * 2, instructions)


@pytest.mark.parametrize(
    "frame", ["x.csv", Path("x.csv"), [DIALOGUE], dict(fname=["a"], dialogue=[DIALOGUE]), 3]
)
def test_what_is_no_frame_is_refused(frame, tmp_path):
    for made in ENGINES.values():
        with pytest.raises(
            DialsumError, match=r"DataFrame with fname and dialogue was expected.*dialsum.read"
        ):
            made().predict_dataframe(frame)
        with pytest.raises(DialsumError, match=r"DataFrame with fname and dialogue was expected"):
            made().create_submission(frame, tmp_path / "out.csv")
    assert not list(tmp_path.iterdir())


def test_a_submission_that_cannot_be_written_is_refused_before_anything_is_predicted(tmp_path, monkeypatch):
    def predicted(*_, **__):
        raise AssertionError("summaries were written")

    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    for made in ENGINES.values():
        p = made()
        monkeypatch.setattr(p.loaded.model, "generate", predicted)
        for path, words in (
            (tmp_path / "folder", "is a folder"),
            (str(tmp_path / "folder"), "is a folder"),
            (tmp_path / "file" / "out.csv", "is no folder"),
            (tmp_path / ("x" * 300), "more than 255 bytes"),
            (Path("/proc/new/out.csv"), "cannot write"),
            (3, "int was given"),
        ):
            with pytest.raises(DialsumError, match=words):
                p.create_submission(FRAME, path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("name", [c.name for c in CARDS.values() if not c.seq2seq])
def test_a_frozen_head_is_not_copied_for_each_row(name):
    from torch.profiler import ProfilerActivity, profile

    loaded, rows = load(card(name), str(replica(card(name))), "bfloat16"), 8
    head = loaded.model.get_output_embeddings().weight.requires_grad_(False)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        Predictor(loaded, rows).predict_batch([DIALOGUE] * rows, max_new_tokens=2)
    assert (
        max(event.cpu_memory_usage for event in profiled.events()) < rows * head.numel() * head.element_size()
    )
