"How far an experiment is, where somebody looks at it and where nobody does"

import io
import re
import sys

import pytest
from rich.cells import cell_len
from rich.console import Console
from support.screens import Screen

from dialsum.commands.display import Board, board, show_progress
from dialsum.pipeline.plan import plan_stages
from dialsum.pipeline.spec import StageSpec
from dialsum.pipeline.status import StageProgress, folds_progress
from dialsum.runs.events import log_event
from dialsum.runs.folders import new_run

WIDTHS = (60, 80, 120)
LONG = "my-own-llama-3.2-korean-bllossom-3b-instruct-of-november-adapted-to-our-calls-"
ALIKE = [f"{LONG}a", f"{LONG}b"]  # they differ at their end
HANGUL = ["우리-회사의-아주-긴-모형-이름-하나", "우리-회사의-아주-긴-모형-이름-둘"]


@pytest.fixture
def terminal(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.mark.parametrize("output", [io.StringIO, Screen])
def test_a_terminal_shows_a_board_and_a_file_gets_lines(output, tmp_path, monkeypatch, terminal):
    run = new_run("small", {}, tmp_path)
    written = output()
    monkeypatch.setattr(sys, "stderr", written)
    with show_progress(run, [StageSpec(run, "train", "kobart")]) as say:
        say("a line of the executor")
    text = written.getvalue()
    assert ("a line of the executor" in text) == (output is io.StringIO)
    assert ("0 of 1 stages" in text) == (output is Screen)


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(tmp_path, monkeypatch, terminal):
    monkeypatch.setenv("TERM", "dumb")
    run = new_run("small", {}, tmp_path)
    written = Screen()
    monkeypatch.setattr(sys, "stderr", written)
    with show_progress(run, [StageSpec(run, "train", "kobart")]) as say:
        say("a line of the executor")
    assert written.getvalue() == "a line of the executor\n"


def experiment(tmp_path, models):  # in the middle of its work: (run folder, keys of its stages)
    run = new_run("small", {}, tmp_path)
    options = dict(k_folds=5, ensemble_strategy="mbr", ensemble_members="models folds soup")
    cards = dict(zip(("kobart", "qwen3-4b", "solar-10.7b"), models))
    specs = plan_stages(run, list(cards), options, tta=True, optimize=True)
    log_event(run, "open")
    first, second = models[:2]

    def stage(event, model, name, fold=None, **more):
        log_event(run, event, stage=name, model=model, fold=fold, **more)

    for name in ("preflight", "data"):
        log_event(run, "end", stage=name, model=None, fold=None, status="success", seconds=12)
    stage("end", first, "train", status="success", seconds=3600)
    stage("kept", first, "evaluate", seconds=60)
    stage("end", second, "train", status="failed", seconds=61)
    stage("end", second, "evaluate", status="blocked", seconds=0)
    for fold in range(3):
        for name in ("train", "evaluate", "predict"):
            stage("end", first, name, fold, status="success", seconds=60)
    stage("start", first, "train", 3)
    stage("beat", first, "train", 3, done=2, total=5, left=480)
    return run, ["/".join([cards.get(part, part) for part in spec.key.split("/")]) for spec in specs]


def rendered(run, keys, width, **terminal) -> list[str]:
    output = io.StringIO()
    options = dict(color_system=None) | terminal
    Console(file=output, width=width, force_jupyter=False, **options).print(board(run, keys))
    return output.getvalue().splitlines()


MODELS = pytest.mark.parametrize(
    "models",
    [["kobart", "qwen3-4b"], ALIKE, ["kobart", *ALIKE], HANGUL],
    ids=["short", "alike", "mixed", "hangul"],
)


@MODELS
@pytest.mark.parametrize("width", WIDTHS)
def test_no_name_and_no_stage_is_cut(models, width, tmp_path):
    run, keys = experiment(tmp_path, models)
    lines = rendered(run, keys, width)
    assert all(cell_len(line) <= width for line in lines), lines
    assert not re.search("…|\\.\\.\\.", "\n".join(lines))
    text = re.sub(r"\s+", "", "".join(lines))
    for model in models:
        assert text.count(model) >= 2  # it and its folds
    for key in keys:
        if "/fold" not in key:
            assert key.rpartition("/")[2] in text


@MODELS
@pytest.mark.parametrize("width", WIDTHS)
def test_no_two_rows_are_alike(models, width, tmp_path):
    run, keys = experiment(tmp_path, models)
    shown = board(run, keys)
    names = [name for name, _ in shown.rows]
    assert names == ["experiment", *(name for model in models for name in (model, f"{model} folds"))]
    text = re.sub(r"\s+", "", "".join(rendered(run, keys, width)))
    for name in names:  # in whole, and then what of it
        assert len(re.findall(re.escape(name.replace(" ", "")) + "[✓✗▶·–]", text)) == 1, name


@pytest.mark.parametrize("width", WIDTHS)
def test_the_folds_of_a_model_are_one_row(width, tmp_path):
    run, keys = experiment(tmp_path, ["kobart", "qwen3-4b"])
    lines = rendered(run, keys, width)
    [row] = [line for line in lines if line.startswith("kobart folds")]
    assert "3/5 done, 1 running" in row
    assert "▶ fold 3: train 40% 0 s, 480 s left" in "\n".join(lines)
    assert not re.search("fold ?[0124]", "\n".join(lines))  # nothing is said of those that are done or wait
    assert "0/5 done" in next(line for line in lines if line.startswith("qwen3-4b folds"))


def folds(**states) -> dict[str, StageProgress]:
    return {f"kobart/{name.replace('_', '/')}": StageProgress(state) for name, state in states.items()}


@pytest.mark.parametrize(
    ("states", "text", "state"),
    [
        (dict(fold0_train="waiting", fold0_evaluate="waiting"), "0/1 done", "waiting"),
        (dict(fold0_train="success", fold0_evaluate="waiting"), "0/1 done", "waiting"),
        (dict(fold0_train="running", fold0_evaluate="waiting"), "0/1 done, 1 running", "running"),
        (dict(fold0_train="kept", fold0_evaluate="success"), "1/1 done", "success"),
        (dict(fold0_train="success", fold1_train="waiting"), "1/2 done", "running"),
        (dict(fold0_train="success", fold1_train="failed"), "1/2 done, 1 failed", "failed"),
        (dict(fold0_train="failed", fold0_evaluate="blocked"), "0/1 done, 1 failed", "failed"),
        (dict(fold10_train="success", fold2_train="running"), "1/2 done, 1 running", "running"),
    ],
    ids=str,
)
def test_a_fold_is_done_when_all_its_stages_are(states, text, state):
    of_model = folds_progress(folds(**states), "kobart")
    assert (str(of_model), of_model.state) == (text, state)


def test_only_folds_of_the_model_count():
    states = folds(fold0_train="success") | {
        "kobart/folds": StageProgress(),
        "kobart2/fold0/train": StageProgress(),
    }
    assert folds_progress(states, "kobart").total == 1 and folds_progress(states, "qwen3-4b") is None
    assert folds_progress({"kobart/folds": StageProgress(), "folds": StageProgress()}, "kobart") is None


@pytest.mark.parametrize(("variable", "coloured"), [("", True), ("NO_COLOR", False)])
def test_states_have_colours_where_the_terminal_has(variable, coloured, tmp_path, monkeypatch, terminal):
    if variable:
        monkeypatch.setenv(variable, "1")
    run, keys = experiment(tmp_path, ["kobart", "qwen3-4b"])
    text = "\n".join(rendered(run, keys, 80, color_system="auto", force_terminal=True))
    for colour, stage in (("32", "✓ train"), ("31", "✗ train"), ("33", "– evaluate"), ("36", "▶ fold 3")):
        styled = re.search(rf"\x1b\[(?:\d+;)*{colour}m{stage}", text)
        assert bool(styled) == coloured, (stage, text)
    assert "\x1b[2m· optimize" in text  # what waits stands back, though its model's name is bold
    assert bool(re.search(r"\x1b\[(\d+;)*3\dm", text)) == coloured


def test_what_is_no_terminal_gets_no_colour(tmp_path, terminal):
    run, keys = experiment(tmp_path, ["kobart", "qwen3-4b"])
    assert "\x1b" not in "\n".join(rendered(run, keys, 80, color_system="auto"))


def test_every_line_is_of_one_language(tmp_path):
    run, keys = experiment(tmp_path, ["kobart", "qwen3-4b"])
    assert not re.search("[가-힣]", "\n".join(rendered(run, keys, 80)))


@pytest.mark.parametrize("width", [1, 2, 5, 10, 30])
def test_a_very_narrow_terminal_breaks_and_leaves_nothing_out(width, tmp_path):
    run, keys = experiment(tmp_path, HANGUL)
    shown = board(run, keys)
    lines = [line.plain for line in shown.lines(max(width, 4))]
    assert all(cell_len(line) <= max(width, 4) for line in lines)
    text = re.sub(r"\s", "", "".join(lines))
    assert all(name.replace(" ", "") in text for name, _ in shown.rows)
    assert isinstance(shown, Board)
