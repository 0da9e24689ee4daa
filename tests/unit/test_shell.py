"Commands that are printed for somebody to copy: they work from anywhere, and are of what is there"

import json
import re
import shlex
import tomllib

import pytest
from support.places import ROOT

from dialsum.commands.experiments import _failed_lines, _model_rows
from dialsum.commands.listing import find_run
from dialsum.runs.checkout import nbs_path
from dialsum.runs.errors import DialsumError
from dialsum.runs.facts import make_fact
from dialsum.runs.folders import new_run
from dialsum.runs.shell import (
    RESUME_WITHOUT_NAME,
    about_experiment,
    experiment_command,
    run_above,
    stage_command,
)

ASKED = dict(models=["kobart"], scale="replica", checkpoints={}, rehearse=False, workers=1)
FOLDERS = ["runs", "my runs", "it's; here", "$HOME", "런"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_command_works_from_another_folder(folder, typed, tmp_path, monkeypatch):
    resumed = []

    def execute(request, run, *_, **__):
        resumed.append((run, request.options["epochs"]))
        return 0

    monkeypatch.setattr("dialsum.commands.experiments._execute", execute)
    monkeypatch.chdir(tmp_path)
    run = new_run("mine", ASKED | dict(reports=str(tmp_path / "reports")), tmp_path / folder)
    command = experiment_command("resume", run.relative_to(tmp_path), "--epochs", "2")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    word, *words = shlex.split(command)
    done = typed(*words)
    assert word == "dialsum" and done.returncode == 0, done.stderr
    assert resumed == [(run, 2)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_command_of_a_stage_works_from_another_folder(folder, typed, tmp_path, monkeypatch):
    specs = []

    def run_stage(spec):
        specs.append(spec)
        return make_fact(spec.run, spec.stage, "success", spec.model)

    monkeypatch.setattr("dialsum.commands.single_stage.run_stage", run_stage)
    run = new_run("mine", ASKED, tmp_path / folder)
    command = stage_command("evaluate", run, model="kobart", scale="replica", fold=None, dev_csv="")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert " fold " not in command and "dev_csv" not in command
    done = typed(*shlex.split(command)[1:])
    assert done.returncode == 0, done.stderr
    [spec] = specs
    assert (spec.run, spec.stage, spec.model, spec.params["scale"]) == (run, "evaluate", "kobart", "replica")


def test_the_usual_folder_is_not_named():
    run = ROOT / "runs" / "20261120_101500_mine"
    assert experiment_command("resume", run) == "dialsum resume 20261120_101500_mine"
    assert experiment_command("report", run.parent.parent / "runs" / ".." / "runs" / run.name).endswith(
        "mine"
    )


def test_an_installed_package_has_no_usual_folder(monkeypatch, tmp_path):
    "There it is the folder in which the command is called"
    monkeypatch.setattr("dialsum.runs.shell.find_checkout", lambda: None)
    monkeypatch.chdir(tmp_path)
    assert (
        experiment_command("resume", tmp_path / "runs" / "mine")
        == f"dialsum resume mine --runs {tmp_path}/runs"
    )


def test_a_name_that_another_folder_has_too_is_looked_for_where_it_was_said(tmp_path, monkeypatch):
    mine = new_run("mine", ASKED, tmp_path / "runs")
    other = tmp_path / "here" / mine.name
    other.mkdir(parents=True)
    (other / "experiment.json").write_text((mine / "experiment.json").read_text())
    monkeypatch.chdir(other.parent)
    assert find_run(mine.name, tmp_path / "runs") == mine
    assert find_run(mine.name) == other and find_run(str(other), tmp_path / "runs") == other


@pytest.fixture
def experiments(tmp_path):
    "Two experiments, and what one stage by itself has left"
    for name, options in (("mine", ASKED), ("other", ASKED), ("train_kobart", dict(stage="train"))):
        new_run(name, options, tmp_path)
    return tmp_path


def given_names(text: str) -> list[str]:
    return re.findall(r"\d{8}_\d{6}_([\w-]+)", text)


@pytest.mark.parametrize("typo", ["mime", "mineX", "othr", "train_kobarts", "kobrat"])
def test_resume_suggests_only_what_is_there_and_can_be_resumed(typo, typed, experiments):
    done = typed("resume", typo, "--runs", experiments)
    suggested = given_names(done.stderr)
    assert done.returncode == 2 and suggested and set(suggested) <= {"mine", "other"}, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_part_of_a_name_means_what_can_be_resumed(typed, experiments, monkeypatch):
    resumed = []
    monkeypatch.setattr(
        "dialsum.commands.experiments.resumed_request", lambda args, run, _: resumed.append(run)
    )
    with pytest.raises(TypeError):  # nothing was asked
        typed("resume", "min", "--runs", experiments)
    assert [run.name.partition("_mine")[1] for run in resumed] == ["_mine"]


def test_what_one_stage_has_left_is_refused_with_its_own_command(typed, experiments):
    [run] = experiments.glob("*train_kobart")
    done = typed("resume", run.name, "--runs", experiments)
    assert done.returncode == 2 and f"dialsum stage … -p run {run}" in done.stderr


def test_of_many_experiments_not_all_are_listed(tmp_path):
    for i in range(30):
        folder = tmp_path / f"20261120_1015{i:02}_run{i:02}"
        folder.mkdir()
        (folder / "experiment.json").write_text(json.dumps(dict(schema=2, options=ASKED)))
    with pytest.raises(DialsumError) as refused:
        find_run("zzz", tmp_path)
    assert len(refused.value.fields["known"]) == 12 and "run29" in str(refused.value)
    with pytest.raises(DialsumError, match="did you mean '20261120_101507_run07'"):
        find_run("run007", tmp_path)


def test_the_catalogue_says_resume_in_one_way():
    with open(nbs_path() / "text" / "failures.toml", "rb") as file:
        remedies = [failure["remedy"] for failure in tomllib.load(file)["failure"]]
    resuming = [text for text in remedies if "dialsum resume" in text]
    assert resuming and all(
        text.count(RESUME_WITHOUT_NAME) == text.count("dialsum resume") for text in resuming
    )


def failed(tmp_path, remedy, optional=False):
    row = dict(stage="kobart/train", status="failed", message="it ended", remedy=remedy, optional=optional)
    return _failed_lines([row], tmp_path / "mine")


def test_the_outcome_says_how_to_go_on_in_lines_of_one_language(tmp_path):
    said, remedy, go_on = failed(tmp_path, f"`{RESUME_WITHOUT_NAME}`으로 이어서 실행하십시오.")
    assert said == "failed: kobart/train: it ended" and not re.search("[가-힣]", said + go_on)
    assert remedy == f"  해결 방법: `dialsum resume mine --runs {tmp_path}`으로 이어서 실행하십시오."
    assert go_on == f"to go on: dialsum resume mine --runs {tmp_path}"
    assert failed(tmp_path, None, optional=True) == ["failed: kobart/train: it ended"]


def test_the_outcome_of_a_model_is_a_line_of_80_columns():
    row = dict(model="llama-3.2-korean-3b", score=None)
    stages = dict.fromkeys(("train", "evaluate", "predict"), "success") | dict(tta="failed")
    assert _model_rows([row | dict(stages=stages)]) == [
        ("llama-3.2-korean-3b", ["3 of 4 stages ", "not evaluated"])
    ]


def test_a_log_of_a_run_belongs_to_it(tmp_path, typed):
    run = new_run("mine", ASKED, tmp_path)
    log = run / "kobart" / "train.log"
    log.parent.mkdir()
    log.write_text("RuntimeError: Kernel died while waiting for execute reply\n")
    assert run_above(log) == run and run_above(tmp_path / "train.log") is None
    assert f"dialsum resume {run.name} --runs {tmp_path}" in typed("diagnose", log).stdout
    assert about_experiment("no command", run) == "no command"
