"A log is what a program wrote, whatever it was wrapped in: the same kinds with and without"

import html
import io
import json
import tracemalloc

import pytest
from support.diagnosis import KNOWN, OOM, kinds, tb
from support.surfaces import SURFACES

from dialsum.checks.logs import LONGEST_CHAIN, MOST_FAILURES, MOST_PROCESSES, read_log
from dialsum.checks.surfaces import LONGEST_LINE, LONGEST_TEXT, bounded_lines, plain_lines

FACT = '{"schema"'  # a fact file is no log
LAST_EXAMPLES = [(k.kind, k.examples[-1]) for k in KNOWN if not k.examples[-1].startswith(FACT)]
NEAR_MISSES = [(k.kind, k.near_misses[0]) for k in KNOWN]
LOUD = ("indented", "kubernetes", "json lines", "repr")  # a near miss may become a hit behind these


@pytest.mark.parametrize("surface", SURFACES)
def test_an_example_behind_a_surface_is_the_same_failure(surface):
    wrap = SURFACES[surface]
    assert len(LAST_EXAMPLES) > 150
    assert [kind for kind, text in LAST_EXAMPLES if kinds(wrap(text)) != [kind]] == []


@pytest.mark.parametrize("surface", LOUD)
def test_what_looks_alike_is_not_taken_for_it_behind_a_surface(surface):
    wrap = SURFACES[surface]
    assert [kind for kind, text in NEAR_MISSES if kind in kinds(wrap(text))] == []


def test_surfaces_in_surfaces():
    written = tb(OOM, "torch/nn/modules/linear.py forward")
    for outer in SURFACES.values():
        for inner in ("quoted", "json lines", "html", "repr"):
            assert kinds(outer(SURFACES[inner](written))) == ["memory-cuda"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ValueError('Attempting to unscale FP16 gradients.')", "precision-scaler-fp16"),
        ("OSError(28, 'No space left on device')", "disk-full"),
        ("`ValueError: Attempting to unscale FP16 gradients.`", "precision-scaler-fp16"),
        ("E   ValueError: Attempting to unscale FP16 gradients.", "precision-scaler-fp16"),
        ("<pre>ValueError: Attempting to unscale FP16 gradients.</pre>", "precision-scaler-fp16"),
        ("raise ValueError('Attempting to unscale FP16 gradients.')", ""),
        ("Lösung: ValueError('Attempting to unscale FP16 gradients.') lesen", ""),
    ],
)
def test_one_line(line, expected):
    assert kinds(line + "\n") == ([expected] if expected else [])


def test_what_was_not_wrapped_stays_as_it_was():
    for line in (
        '{"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}',
        "{'loss': 1.08, 'epoch': 0.7}",
        ">>> import torch",
        r"C:\new\table.csv",
        '  File "a.py", line 1, in <module>',
        "x < y && y > z",
        '{"text": 3}',
        "",
    ):
        assert [p.text for p in plain_lines(line)] == [line]


def test_an_indented_block_within_a_text_and_a_prefix_of_somebody():
    block = "".join(f"      {line}\n" for line in tb(OOM).splitlines())
    assert kinds(f"  × the build failed\n  ╰─> [4 lines of output]\n{block}      [end]\n") == ["memory-cuda"]
    prefixed = "".join(f"worker 3 says: {line}\n" for line in tb(OOM).splitlines())
    assert kinds(prefixed) == ["memory-cuda"]


def test_a_traceback_whose_head_was_cut_off():
    text = tb(OOM, "torch/nn/modules/linear.py forward").partition("\n")[2]
    (failure,), _ = read_log(io.StringIO(text))
    assert len(failure.frames) == 2 and kinds(text) == ["memory-cuda"]


def test_a_message_of_several_lines_that_a_terminal_folded():
    folded = "AssertionError: Check batch related\nparameters. train_batch_size is not\nequal to micro_batch_per_gpu\n"
    assert kinds(folded) == ["deepspeed-batch"]


# Bounded work: what is held and looked at, not seconds


def test_lines_are_read_in_pieces_and_texts_are_looked_at_from_their_beginning():
    pieces = list(bounded_lines(io.StringIO("x" * 1_000_000)))
    assert max(map(len, pieces)) == LONGEST_LINE and sum(map(len, pieces)) == 1_000_000
    assert len(plain_lines("y" * LONGEST_LINE)[0].text) == LONGEST_TEXT
    nested = "traceback"
    for _ in range(12):
        nested = json.dumps(dict(msg=nested))
    assert len(plain_lines(nested)) == 1  # some are undone, none without end
    assert len(plain_lines("{" * 60_000 + "}")) == 1
    assert len(plain_lines("&amp;" * 10_000)) == 1


def test_a_deep_chain_keeps_its_root_and_its_end():
    between = "\nDuring handling of the above exception, another exception occurred:\n\n"
    text = between.join(tb(f"ValueError: {i}") for i in range(3000))
    (failure,), _ = read_log(io.StringIO(text))
    assert len(failure.links) == LONGEST_CHAIN + 1
    assert (failure.root.message, failure.message) == ("0", "2999")
    assert kinds(tb(OOM) + between + text) == ["memory-cuda"]


def test_as_many_failures_and_processes_are_kept_as_there_is_room_for():
    loud = "".join(f"[rank{i}]: ValueError: {i}\n" for i in range(3000))
    failures, _ = read_log(io.StringIO(loud))
    assert len(failures) <= 4 * MOST_FAILURES
    assert len({f.message for f in failures}) > MOST_PROCESSES


def test_memory_does_not_grow_with_the_log():
    def log(count):
        for i in range(count):
            yield f"{'{'}'loss': 1.0{i}{'}'}\n"
            yield f"RuntimeError: {i} " + "x" * 3000 + "\n"

    def held(count):
        tracemalloc.start()
        read_log(log(count))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    held(10)
    assert held(900) < 2 * held(300)


def test_bytes_that_are_no_text_are_no_failure():
    noise = bytes(range(256)).decode("latin-1") * 40
    assert kinds(noise) == [] and kinds(html.escape(noise)) == []
