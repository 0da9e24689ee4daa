"Continuous batching: what plain transformers writes, in order, where memory ends, too; what it cannot do is refused; where it is tried"

import pytest
import torch
from support.toys import known_rows, learned

from dialsum.generation.decoding import Decoding
from dialsum.generation.engines import ENGINES
from dialsum.generation.factory import engine
from dialsum.generation.predictor import Predictor
from dialsum.generation.search import _guesses, optimize
from dialsum.models.cards import card
from dialsum.models.precision import Device
from dialsum.runs.errors import DialsumError

CPU = dict(device="cpu")
TEXTS = list(known_rows()["dialogue"])[:5]
SHORT = Decoding(max_new_tokens=6)


def made(name, decoding=SHORT):
    return engine("continuous", card(name), str(learned(name)), 2, decoding=decoding, loading=CPU)


@pytest.fixture(scope="module")
def continuous():
    return made("qwen3-4b")


def test_it_writes_what_the_predictor_writes():  # with sliding windows, and two places for five
    fast = made("gemma-3-270m")
    plain = Predictor(fast.loaded, 2, decoding=SHORT)
    assert fast.predict_batch(TEXTS) == plain.predict_batch(TEXTS)
    assert fast.reached == plain.reached and fast.predict_batch([]) == []


def test_where_memory_ends_fewer_are_written_at_once_and_the_same(continuous, monkeypatch, capsys):
    generate = continuous.loaded.model.generate_batch
    plain = Predictor(continuous.loaded, 4, decoding=SHORT)

    def small(sources, continuous_batching_config, **given):
        if continuous_batching_config.max_requests_per_batch > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return generate(sources, continuous_batching_config=continuous_batching_config, **given)

    monkeypatch.setattr(continuous.loaded.model, "generate_batch", small)
    monkeypatch.setattr(continuous, "batch_size", 4)
    assert (
        continuous.predict_batch(TEXTS[:4]) == plain.predict_batch(TEXTS[:4]) and continuous.batch_size == 1
    )
    assert capsys.readouterr().out.count("out of memory") == 2


def test_a_failure_of_its_thread_is_raised(continuous, monkeypatch):
    monkeypatch.setattr(continuous.loaded.model, "forward", lambda *a, **b: 1 / 0)
    with pytest.raises(RuntimeError, match="division by zero"):
        continuous.predict_batch(TEXTS[:2])


@pytest.mark.parametrize(
    "options",
    [
        dict(num_beams=2),
        dict(min_new_tokens=3),
        dict(repetition_penalty=1.2),
        dict(no_repeat_ngram_size=3),
        dict(suppress_tokens=[5]),
    ],
    ids=str,
)
def test_what_it_cannot_follow_is_refused(options, continuous, monkeypatch):
    [name] = options
    with pytest.raises(DialsumError, match=f"continuous cannot follow {name} as"):
        continuous.predict_batch(TEXTS[:1], **options)
    monkeypatch.setattr("dialsum.generation.factory.load", lambda *a, **b: pytest.fail("weights were read"))
    if name != "suppress_tokens":
        with pytest.raises(DialsumError, match=f"continuous cannot follow {name} as"):
            made("qwen3-4b", Decoding(**dict(max_new_tokens=6) | options))


def test_an_encoder_decoder_is_refused_before_its_weights_are_read(tmp_path):
    with pytest.raises(DialsumError, match="causal models only, and kobart is an encoder-decoder"):
        engine("continuous", card("kobart"), str(tmp_path / "nothing"), loading=CPU)


def test_on_a_cpu_it_is_measured_only_when_it_is_named():
    assert "continuous" not in _guesses(list(ENGINES), False, Device("cpu", True))
    assert list(_guesses(["continuous"], True, Device("cpu", True))) == ["hf", "continuous"]
    assert "continuous" in _guesses(list(ENGINES), True, Device("cuda", True))


def test_a_server_is_never_measured():
    assert "server" not in _guesses(list(ENGINES), False, Device("cuda", True))
    with pytest.raises(DialsumError, match=r"server cannot be measured.*: measure hf, continuous"):
        optimize(card("qwen3-4b"), "anything", TEXTS[:4], engines=("hf", "server"))


def test_groups_hold_every_dialogue_once(continuous, monkeypatch):
    monkeypatch.setattr(continuous, "batch_size", 2)
    groups = continuous.groups(TEXTS * 6)
    assert sorted(i for group in groups for i in group) == list(range(30))
    assert [len(group) for group in groups] == [16, 14]
