"Many logs, one cause each; what is known of a kind; a draft of a new one"

import codecs
import io
import json
import os
import sys
import tomllib

import pytest
from support.diagnosis import FP16, KNOWN, OOM, kinds, tb
from support.experiments import NO_MEMORY, NO_MEMORY_TRACE, at

from dialsum.checks import diagnosis, failures, logs
from dialsum.checks.drafting import UNWRITTEN, frame_pattern, message_pattern, unwritten_parts
from dialsum.commands import entries
from dialsum.commands.entries import explain_kind
from dialsum.runs.attempts import keep_failure
from dialsum.runs.events import log_event

ODD = "mylib.OddError: row 17 of '/home/kim/a.csv' has 3 odd columns, 0x7f61af54"


@pytest.fixture
def told(typed):
    "What `dialsum diagnose --json` says of some words"

    def tell(*words):
        done = typed("diagnose", "--json", *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return tell


def places(group):
    return [(os.path.basename(p["source"]), p["line"]) for p in group["places"]]


def test_causes_of_many_logs_are_told_once_each_with_its_lines(tmp_path, told):
    (tmp_path / "a.log").write_text("epoch 1\n" + tb(FP16) + "\n" + tb(ODD))
    (tmp_path / "b.out").write_text(tb(ODD.replace("17", "4").replace("kim", "lee")))
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "c").write_text("\n\n" + tb(FP16))
    (tmp_path / "quotes.json").write_text(json.dumps(dict(text=tb(OOM))))
    (tmp_path / ".hidden.log").write_text(tb(OOM))
    precision, odd = told(tmp_path)
    assert (precision["kind"], odd["kind"]) == ("precision-scaler-fp16", "unknown")
    assert places(precision) == [("a.log", 5), ("c", 6)] and places(odd) == [("a.log", 10), ("b.out", 4)]
    assert odd["fingerprints"] == told(tmp_path / "b.out")[0]["fingerprints"]
    assert places(told(tmp_path / "b.out", tmp_path / "a.log")[1]) == [("b.out", 4), ("a.log", 10)]


def test_a_notebook_and_standard_input(tmp_path, told, monkeypatch):
    output = dict(output_type="error", ename="OddError", evalue="x", traceback=tb(FP16).splitlines())
    notebook = dict(
        cells=[dict(cell_type="code", outputs=[output])], metadata={}, nbformat=4, nbformat_minor=5
    )
    (tmp_path / "n.ipynb").write_text(json.dumps(notebook))
    for content in (json.dumps(notebook).encode(), tb(FP16).encode() + b"\xff"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        [group] = told(tmp_path / "n.ipynb", "-")
        assert group["kind"] == "precision-scaler-fp16" and places(group)[0] == ("n.ipynb", 0)
    assert places(group)[1] == ("-", 4)


@pytest.fixture
def broken(build):
    "An experiment of two models, whose trainings have found no memory in whole and in a fold"
    run, leave = build(models=["kobart", "qwen3-4b"], scale="full", batch_size=8)
    for i, (model, fold) in enumerate((("kobart", None), ("kobart", 0), ("qwen3-4b", None))):
        folder = model if fold is None else f"{model}/fold{fold}"
        (run / folder).mkdir(exist_ok=True)
        params = dict(batch_size=8, scale="full")
        where = dict(fold=fold, folder=folder, params=params, start=i)
        leave("train", model, "failed", message=NO_MEMORY, traceback=NO_MEMORY_TRACE, **where)
    blocked = dict(
        code="stage_blocked", kind="blocked", fields=dict(stage="kobart/evaluate", missing=["kobart/train"])
    )
    leave("evaluate", "kobart", "blocked", folder="kobart", **blocked)
    leave("submit", "", "failed", code="nothing_to_submit", kind="user", fields=dict(run=run.name))
    (run / "errors").mkdir()
    (run / "errors" / "train.log").write_text(NO_MEMORY_TRACE)
    return run


def test_an_experiment_by_its_name_or_its_folder(broken, told, typed):
    for words in ((broken,), ("012847", "--runs", broken.parent)):
        [group] = told(*words)
        assert group["kind"] == "memory-cuda" and places(group) == [("train.log", 8)]
        assert group["advice"]["advice"] == "again" and "--batch-size 4" in group["advice"]["command"]
        assert group["seen"] == []  # what is asked about is nothing that was seen before
    text = typed("diagnose", broken).stdout
    assert f"위치: `{broken.name}/errors/train.log:8`" in text and "조언: `--batch-size 4" in text
    assert f"  $ dialsum resume {broken.name} " in text
    log_event(broken, "advice", fingerprints=["memory-cuda"], options="--batch-size 4")
    assert told(broken)[0]["advice"]["advice"] == "stop"


def test_what_was_seen_before_and_what_is_new(broken, told, typed):
    path = broken / "kobart" / "train.json"
    former = json.loads(path.read_text()) | dict(started=at(-60 * 1), finished=at(0))
    keep_failure(broken, path)
    success = former | dict(status="success", error=None, started=at(1), finished=at(2))
    success["params"] = success["params"] | dict(batch_size=2)
    path.write_text(json.dumps(success))
    (broken / "kobart" / "train.log").write_text("epoch 1\nloss 2.3\n")
    [group] = told(broken)
    assert len(group["seen"]) == 1 and "mended by --batch-size 8 → 2" in group["seen"][0]
    keep_failure(broken, path)
    path.write_text(json.dumps(success | dict(status="failed", error=former["error"])))
    (broken / "kobart" / "train.last_good.log").write_text("epoch 7\nloss 1.9\n")
    (broken / "kobart" / "train.log").write_text("epoch 1\ngradient norm is inf\nloss 7\n")
    [news] = told(path)[0]["news"]
    assert news["news"]["first"] == [dict(number=2, text="gradient norm is inf")]
    text = typed("diagnose", broken / "kobart" / "train.json").stdout
    assert f"+ {broken.name}/kobart/train.log:2: gradient norm is inf" in text


def test_an_experiment_without_a_failure_has_none(build, typed):
    run, leave = build(models=["kobart"])
    leave("data")
    done = typed("diagnose", run)
    assert done.returncode == 0 and done.stdout.startswith("nothing that dialsum knows")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no log is named"),
        (("nosuch",), "'nosuch' is no file, folder or experiment"),
        (("no/such.log",), "'no/such.log' is no file"),
        (("-", "-"), "named 2 times"),
        (("--explain", "memory-cudda"), "did you mean 'memory-cuda'?"),
        (("x.log", "--output", "y.toml"), "give --add LOG as well"),
        (("--add", "nosuch"), "'nosuch' is no file"),
        (("--add", "logs"), "a draft is made of one log"),
        (("odd.log", "--add", "odd.log"), "nothing is done with odd.log"),
        (("nosuch.log", "--explain", "memory-cuda"), "nothing is done with nosuch.log"),
        (("--explain", "memory-cuda", "--add", "odd.log"), "nothing is done with --add"),
        (("--add", "odd.log", "--json"), "nothing is done with --json"),
        (("empty",), "holds no log"),
        (("logs/core",), "is no text"),
        (("binary",), "is no text"),
    ],
    ids=str,
)
def test_what_cannot_be_diagnosed_is_refused_in_one_sentence(words, said, typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "weights.bin").write_bytes(b"\0")
    (tmp_path / "odd.log").write_text(tb(ODD))
    for folder in ("logs", "binary"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "core").write_bytes(b"\x7fELF\2\1\1" + bytes(64))
    (tmp_path / "logs" / "a.log").write_text(tb(ODD))
    done = typed("diagnose", *words, *(() if "--runs" in words else ("--runs", tmp_path)))
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1


def test_what_is_no_text_in_a_folder_is_passed_over(tmp_path, typed, monkeypatch):
    (tmp_path / "core").write_bytes(b"\x7fELF\2\1\1" + bytes(64))
    (tmp_path / "torn.ipynb").write_text('{"cells": [{"cell_type": "code", "outp')
    (tmp_path / "train.log").write_text(tb(FP16))
    done = typed("diagnose", tmp_path)
    assert done.returncode == 0 and "precision-scaler-fp16" in done.stdout
    said = done.stderr.splitlines()
    assert len(said) == 2 and "core" in said[0] and "torn.ipynb" in said[1]


def test_an_error_of_no_known_exception_is_told_as_json(tmp_path, told, typed):
    (tmp_path / "a.log").write_text("10:00 - ERROR - step 3 ended in FrobError here\nbye\n")
    (tmp_path / "b.log").write_text("10:07 - ERROR - step 4 ended in FrobError here\nbye\n")
    (tmp_path / "c.log").write_text(tb(FP16))
    known, unknown = told(tmp_path)
    assert known["kind"] == "precision-scaler-fp16" and unknown["kind"] == "unknown"
    assert "FrobError here" in unknown["evidence"][0] and places(unknown) == [("a.log", 0), ("b.log", 0)]
    assert unknown.keys() == known.keys()
    assert "not known to dialsum" in typed("diagnose", tmp_path).stdout


@pytest.mark.parametrize("suffix", [".json", "-"])
def test_a_long_log_of_json_lines_is_not_held(suffix, tmp_path, told, monkeypatch):
    held = []

    class Counted(io.TextIOWrapper):
        def read(self, size=-1):
            held.append(len(text := super().read(size)))
            return text

        def readline(self, size=-1):
            held.append(len(text := super().readline(size)))
            return text

    monkeypatch.setattr(diagnosis, "_open", lambda path: Counted(path.open("rb"), encoding="utf-8"))
    line = json.dumps(dict(msg="step " + "x" * 200)) + "\n"
    text = line * 50_000 + json.dumps(dict(msg=FP16, exc_info=tb(FP16))) + "\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    (tmp_path / "steps.json").write_text(text)
    [group] = told(tmp_path / "steps.json" if suffix == ".json" else "-")
    assert group["kind"] == "precision-scaler-fp16" and max(held) < 100_000


@pytest.mark.parametrize("indent", [1, None])
def test_a_large_notebook_is_read_as_one_whatever_its_name(indent, tmp_path, told):
    images = [dict(output_type="display_data", data={"image/png": "x" * 1_000_000}) for _ in range(11)]
    error = dict(output_type="error", ename="ValueError", evalue="x", traceback=tb(FP16).splitlines())
    notebook = dict(cells=[dict(cell_type="code", outputs=[*images, error])], metadata={})
    (tmp_path / "n.json").write_text(json.dumps(notebook, indent=indent))
    assert [group["kind"] for group in told(tmp_path / "n.json")] == ["precision-scaler-fp16"]


def test_nothing_of_a_log_steers_the_terminal(broken, typed):
    path = broken / "kobart" / "train.json"
    (broken / "kobart" / "train.last_good.log").write_text("epoch 1\n")
    noise = " 10%|x\r\x1b[31mgradient norm\x1b[0m is\x07 inf\x1b]0;title\x07\u202e\n"
    (broken / "kobart" / "train.log").write_text(noise)
    text = typed("diagnose", path).stdout
    assert "train.log:2: gradient norm is inf\n" in text
    assert not [c for c in text if c != "\n" and not c.isprintable()]


# what is known of a kind


@pytest.mark.parametrize("known", KNOWN, ids=[k.kind for k in KNOWN])
def test_an_entry_is_explained_whole(known, capsys):
    explain_kind(known.kind)
    text = capsys.readouterr().out
    for part in (known.title, known.cause, known.remedy, known.reference, known.severity):
        assert part in text
    assert all(way.action in text and way.options in text for way in known.alternatives)
    assert text.count("  예: ") == len(known.examples) and "Traceback (" not in text


def test_an_example_is_told_by_the_line_with_its_exception(told):
    log = tb(OOM) + "and then\nall of it\nends here\n"
    assert entries._error_line(log, "memory-cuda") == OOM[:200]
    examples = told("--explain", "peft-targets")["examples"]
    assert examples and all("Error: " in line for line in examples)


def test_an_entry_is_told_as_json(told):
    entry = told("--explain", "memory-cuda")
    assert entry["kind"] == "memory-cuda" and entry["alternatives"][0]["options"].startswith("--batch-size")


# drafts


@pytest.mark.parametrize("known", KNOWN, ids=[k.kind for k in KNOWN])
def test_an_entry_of_the_catalogue_is_written_to_its_end(known):
    assert unwritten_parts(known) == [], f"{known.kind}: write what the draft has left open"


@pytest.mark.parametrize(
    ("line", "other", "alike"),
    [
        (
            "row 17 of '/a/b.csv' has 3 odd columns",
            "row 2 of '/c.csv' has 31 odd columns",
            "row 2 has odd columns",
        ),
        ("no kernel for gfx1030 in 0x7f61", "no kernel for gfx1100 in 0x0011", "no kernel is needed"),
        ("key `a.b.c` is not in [1, 2]", "key `x` is not in [5]", "key is not"),
    ],
)
def test_a_drafted_pattern_finds_the_message_elsewhere_and_not_another(line, other, alike):
    import re

    pattern = message_pattern(line)
    assert re.search(pattern, line) and re.search(pattern, other) and not re.search(pattern, alike)


def test_a_message_of_many_numbers_makes_a_pattern_that_is_quick():
    import re

    pattern = message_pattern("abc 1 " * 200)
    assert not re.search(pattern, "abc 1 " * 9 + "x" * 4000)
    assert not re.search(message_pattern("abc 1 " * 12 + "zzz"), "abc 1 " * 600)
    assert message_pattern("17") == "^" and message_pattern("") == "^"
    assert frame_pattern(()) == frame_pattern(("/u/t.py:3 in f",)) == ""


def drafted(typed, text, tmp_path, *words):
    log = tmp_path / "new.log"
    log.write_text(text)
    return typed("diagnose", "--add", log, *words)


CHAIN = "\nThe above exception was the direct cause of the following exception:\n\n"


@pytest.mark.parametrize(
    "text",
    [
        tb(ODD, "mylib/rows.py check"),
        f"epoch 1\n{tb(ODD)}{CHAIN}{tb('RuntimeError: training failed')}",
        "[rank0]: "
        + tb("mylib.OddError: it's '''odd''' \\d+ here", "mylib/x.py go").replace("\n", "\n[rank0]: "),
        tb(f"{ODD}\nsecond line of it\nthird"),
        tb(ODD, *[f"mylib/deep.py f{i}" for i in range(60)]),
    ],
    ids=["frame", "chain", "rank", "lines", "deep"],
)
def test_a_draft_knows_its_own_log_and_leaves_the_rest_to_its_author(text, typed, tmp_path, monkeypatch):
    assert kinds(text) == ["unknown"]
    done = drafted(typed, text, tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    [entry] = tomllib.loads(done.stdout)["failure"]
    assert entry["type"] == "OddError"  # of a chain the root
    assert "/home" not in done.stdout and entry["cause"] == entry["remedy"] == UNWRITTEN
    known = failures._known_failure(dict(entry))
    assert set(unwritten_parts(known)) == {"title", "cause", "remedy", "reference", "near_misses"}
    for module in (diagnosis, logs):
        monkeypatch.setattr(module, "known_failures", lambda: (*KNOWN, known))
    assert kinds(text) == [entry["kind"]] == kinds(entry["examples"][0])
    assert kinds(tb("mylib.OddError: all is well", "mylib/rows.py check")) == ["unknown"]


def test_a_failure_that_is_known_is_not_drafted(typed, tmp_path):
    done = drafted(typed, tb(FP16), tmp_path)
    assert (
        done.returncode == 0 and done.stdout == "" and "known already as precision-scaler-fp16" in done.stderr
    )
    done = drafted(typed, tb(FP16) + "\n" + tb(ODD), tmp_path)
    assert "OddError" in done.stdout and FP16 not in done.stdout
    done = drafted(typed, "all is well\n", tmp_path)
    assert done.returncode == 2 and "holds no exception" in done.stderr


def test_a_draft_is_made_of_whatever_a_log_is_written_in(typed, tmp_path):
    wide, notebook = tmp_path / "wide.log", tmp_path / "n.ipynb"
    wide.write_bytes(codecs.BOM_UTF16_LE + tb(ODD).encode("utf-16-le"))
    stream = dict(output_type="stream", text=["epoch 1\n"])
    error = dict(output_type="error", ename="OddError", evalue="x", traceback=tb(ODD).splitlines())
    cells = [dict(cell_type="code", outputs=[stream, error])]
    notebook.write_text(json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)))
    for log in (wide, notebook):
        done = typed("diagnose", "--add", log)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        [entry] = tomllib.loads(done.stdout)["failure"]
        assert entry["type"] == "OddError" and kinds(entry["examples"][0]) == ["unknown"]
        assert entry["examples"][0].startswith("Traceback (most recent call last):\n")


def test_a_draft_goes_behind_what_a_file_holds(typed, tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "sk-0123456789abcdef0123")
    path = tmp_path / "mine.toml"
    for _ in range(2):
        done = drafted(typed, tb(f"{ODD} sk-0123456789abcdef0123"), tmp_path, "--output", path)
        assert done.returncode == 0 and done.stdout == "", done.stderr
    assert len(tomllib.loads(path.read_text())["failure"]) == 2 and "sk-0123" not in path.read_text()
    path.write_text("no toml")
    done = drafted(typed, tb(ODD), tmp_path, "--output", path)
    assert done.returncode == 2 and "no TOML" in done.stderr and path.read_text() == "no toml"
