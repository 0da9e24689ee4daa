"""What went wrong is told once for each cause, with commands that are complete and nothing that is nobody's business"""

import json
import re
import shlex

import pytest
from support.diagnosis import OOM, SITE, tb
from support.experiments import at, metrics, two_of_four_broken, whole
from support.keys import KEY

from dialsum.checks.failures import known_failures
from dialsum.commands.options import parser, plan_parameters, with_dashes
from dialsum.models.cards import CARDS
from dialsum.pipeline.failed_stage import EXCERPT, with_diagnosis
from dialsum.pipeline.spec import StageSpec
from dialsum.report.causes import causes_of
from dialsum.report.contrasts import FACTORS
from dialsum.report.document import mermaid_diagrams, render
from dialsum.report.experiment import read_experiment
from dialsum.report.mending import known_values
from dialsum.report.reach import PRIORITIES
from dialsum.report.sections.failures import section_failures
from dialsum.runs.error_facts import make_error
from dialsum.runs.records import ErrorRecord

SIX = [c.name for c in CARDS.values() if c.group == "all"]
NAME = "20261121_012847_test"


def left(run, leave, stage, model="", *, error, fold=None, **content):
    "A failed stage whose fact holds this error"
    folder = "/".join(filter(None, [model, "" if fold is None else f"fold{fold}"])) or None
    if folder:
        (run / folder).mkdir(parents=True, exist_ok=True)
    leave(stage, model, "failed", fold=fold, folder=folder, **content)
    path = run / (folder or "") / f"{stage}.json"
    fact = json.loads(path.read_text())
    path.write_text(json.dumps(fact | dict(error=error.to_dict())))


def understood(run, message, text="", stage="train", model="kobart", kind="exception"):
    "What the pipeline makes of another program's error"
    name, _, said = message.partition(": ")
    error = make_error(kind, name.rpartition(".")[2], text=said, traceback=f"errors/{model}_{stage}.log")
    return with_diagnosis(StageSpec(run, stage, model), error, text or tb(message))


def crowd(build, folds=5, **options):
    "Every model and every fold without memory"
    run, leave = build(models=SIX, scale="full", batch_size=8, k_folds=folds, **options)
    leave("data")
    for m in SIX:
        error = understood(run, OOM, tb(OOM, "torch/nn/modules/linear.py forward"), model=m)
        for fold in (None, *range(folds)):
            left(run, leave, "train", m, error=error, fold=fold, seconds=60)
            leave("evaluate", m, "blocked", fold=fold, kind="blocked")
        leave("folds", m, "blocked", kind="blocked")
        leave("predict", m, "blocked", kind="blocked")
    leave("submit", status="failed", kind="user", code="nothing_to_submit", fields=dict(run=NAME))
    return run, leave


def blocks(section):
    return re.findall(r"^### (P[0-3]) · (.+)$", section, re.M)


# One cause, one block


def test_thirty_six_failures_alike_are_one_block(build):
    run, _leave = crowd(build, command="dialsum run --models all --k-folds 5 --runs lab")
    e = read_experiment(run)
    [cause] = causes_of(e)
    assert len(cause.steps) == 36 and cause.priority == "P0" and len(cause.lost_models) == 6
    assert [g.split("의 ")[1] for g in cause.affected] == ["학습(전체, 폴드 0–4)"]
    assert "제출" in cause.stopped_groups and len(cause.stopped) == 36 + 6 + 6 + 1
    section = section_failures(e)
    assert blocks(section) == [("P0", "GPU 메모리 부족")] and section.count("```mermaid") == 1
    assert "모두 36개" in section and "KULLM-v2의 평가(전체, 폴드 0–4)·예측·폴드 종합, 제출입니다." in section
    assert len(mermaid_diagrams(e)) == 3 and len(section.splitlines()) < 100


def test_what_differs_in_more_than_the_model_is_another_cause(build):
    run, leave = build(models=["kobart", "qwen3-4b", "solar-10.7b"])
    for m, folder in (("kobart", "a"), ("qwen3-4b", "a"), ("solar-10.7b", "b")):
        error = make_error(
            "user", "DialsumError", "checkpoint_folder_missing", dict(model=m, folder=folder, example="x/y")
        )
        left(run, leave, "train", m, error=error)
    first, second = causes_of(read_experiment(run))
    assert (first.affected, first.files) == (["KoBART·Qwen3-4B의 학습"], ("a",))
    assert (second.affected, second.files) == (["SOLAR-10.7B 학습"], ("b",))
    assert (
        "`kobart, qwen3-4b`: `a` 폴더가 없습니다" in first.why and first.title == "체크포인트를 찾을 수 없음"
    )


def test_a_model_by_any_of_its_names_makes_no_other_cause(build):
    run, leave = build(models=SIX[:3])
    for m in SIX[:3]:
        fields = dict(model=m, checkpoint=CARDS[m].checkpoint, verb="fetch", command=f"dialsum fetch {m}")
        error = make_error("user", "DialsumError", "hub_offline", fields)
        left(run, leave, "train", m, error=error)
        died = make_error(
            "died", "StageDied", "stage_killed", dict(stage=f"{m}/fold1/train", signal="SIGKILL")
        )
        left(run, leave, "train", m, error=died, fold=1)
        said = f"FileNotFoundError: [Errno 2] No such file or directory: 'configs/{m.replace('-', '_')}.yaml'"
        left(run, leave, "predict", m, error=understood(run, said, model=m))
    titles = [(c.title, len(c.steps)) for c in causes_of(read_experiment(run))]
    assert len(titles) == 3 and set(titles) == {
        ("갑자기 끝난 단계의 프로세스", 3),
        ("연결할 수 없는 모델 저장소(huggingface.co)", 3),
        ("없는 파일(`FileNotFoundError`)", 3),
    }


def test_the_amounts_that_a_message_tells_make_no_other_cause(build):
    run, leave = build(models=["kobart", "qwen3-4b"])
    for i, m in enumerate(("kobart", "qwen3-4b")):
        left(run, leave, "train", m, error=understood(run, f"RuntimeError: row {i} is odd", model=m))
        left(run, leave, "predict", m, error=understood(run, OOM.replace("2.32", str(i + 1)), model=m))
    assert sorted(len(c.steps) for c in causes_of(read_experiment(run))) == [2, 2]


def test_each_finding_of_a_preflight_is_a_cause(build):
    run, leave = build(models=["kobart", "qwen3-4b"])
    shard = dict(code="shard_missing", fields=dict(shard="model-00002-of-00003.safetensors"))
    for m, more in (("kobart", []), ("qwen3-4b", [dict(code="fp16_on_cpu", fields={})])):
        missing = dict(code="checkpoint_not_whole", fields=dict(model=m, checkpoint="weights", damage=shard))
        error = make_error("preflight", "Finding", "preflight_found", dict(findings=[missing, *more]))
        left(run, leave, "train", m, error=error)
    first, second = causes_of(read_experiment(run))
    assert first.affected == ["KoBART·Qwen3-4B의 학습"] and first.title == "온전하지 않은 체크포인트"
    assert first.files == ("weights", "model-00002-of-00003.safetensors")
    assert second.affected == ["Qwen3-4B 학습"] and "fp16" in second.title
    assert first.verification.startswith("dialsum preflight --models kobart qwen3-4b")


# Nothing is left out


def test_a_failure_that_nobody_knows_is_a_cause(build):
    run, leave = whole(build)
    left(run, leave, "tta", "kobart", error=understood(run, "OddError: nobody has met this", stage="tta"))
    [cause] = causes_of(read_experiment(run))
    assert not cause.is_known and (cause.priority, cause.title) == ("P2", "알려지지 않은 오류(`OddError`)")
    assert (
        cause.remedy
        and cause.command == f"dialsum resume {NAME} --runs {run.parent}"
        and cause.frame == "train.py:40 in <module>"
    )
    section = section_failures(read_experiment(run))
    for told in (
        "알려진 실패 목록에 없는 오류입니다",
        "`nobody has met this`",
        "`train.py:40 in <module>`",
        f"\ndialsum resume {NAME} --runs {run.parent}\n",
    ):
        assert told in section, told


def test_a_fact_of_an_earlier_version_has_its_block(build):
    run, leave = build(models=["kobart"])
    error = ErrorRecord.of(
        kind="exception",
        type="OddError",
        message="first line\n" + "more\n" * 40,
        frames=["a.py:1 in f", "b.py:2 in g"],
    )
    left(run, leave, "train", "kobart", error=error)
    [cause] = causes_of(read_experiment(run))
    assert (cause.frame, cause.excerpt) == ("b.py:2 in g", "")
    section = section_failures(read_experiment(run))
    assert "`first line`" in section and "<summary>오류 메시지 전체</summary>" in section


def test_a_failure_without_a_word_has_its_block(build):
    run, leave = build(models=["kobart"])
    left(run, leave, "train", "kobart", error=ErrorRecord())
    [cause] = causes_of(read_experiment(run))
    assert cause.title and cause.remedy and blocks(section_failures(read_experiment(run)))


def test_a_submission_without_candidates_is_a_cause_only_where_no_other_is(build):
    run, leave = build(models=["kobart"])
    error = make_error("user", "DialsumError", "nothing_to_submit", dict(run=NAME))
    left(run, leave, "submit", error=error)
    assert [c.title for c in causes_of(read_experiment(run))] == ["제출할 후보 없음"]
    left(run, leave, "evaluate", "kobart", error=understood(run, "OddError: no"))
    [cause] = causes_of(read_experiment(run))
    assert cause.title.startswith("알려지지") and cause.stopped_groups == ["제출"] and cause.loses_submission


def test_a_stage_that_waits_for_nothing_that_failed_is_told_apart(build):
    run, leave = build(models=["kobart"])
    leave("evaluate", "kobart", "blocked", kind="blocked", message="why")
    section = section_failures(read_experiment(run))
    assert not blocks(section) and "### 실행되지 않은 단계" in section and "| KoBART 평가 |" in section


# How urgent it is


@pytest.mark.parametrize(
    ("stage", "model", "models", "fold", "expected"),
    [
        ("train", "kobart", ["kobart"], None, "P0"),
        ("train", "kobart", ["kobart", "qwen3-4b"], None, "P1"),
        ("data", "", ["kobart", "qwen3-4b"], None, "P0"),
        ("submit", "", ["kobart", "qwen3-4b"], None, "P0"),
        ("train", "kobart", ["kobart", "qwen3-4b"], 2, "P2"),
        ("tta", "kobart", ["kobart", "qwen3-4b"], None, "P2"),
        ("api", "", ["kobart", "qwen3-4b"], None, "P2"),
        ("optimize", "kobart", ["kobart", "qwen3-4b"], None, "P3"),
    ],
)
def test_how_urgent_a_failure_is_follows_from_what_it_cost(build, stage, model, models, fold, expected):
    run, leave = build(models=models)
    left(run, leave, stage, model, error=make_error("exception", "OddError", text="odd"), fold=fold)
    [cause] = causes_of(read_experiment(run))
    assert cause.priority == expected


def test_the_catalogue_neither_raises_nor_lowers_it(build):
    run, leave = build(models=["kobart", "qwen3-4b"])
    left(run, leave, "train", "qwen3-4b", error=understood(run, OOM))
    [cause] = causes_of(read_experiment(run))
    assert cause.priority == "P1" and cause.lost_models == ["Qwen3-4B"]
    other, leave = build("other", models=["kobart"])
    refused = make_error("user", "DialsumError", "trained_in_full", dict(model="kobart", method="lora"))
    left(other, leave, "train", "kobart", error=refused.model_copy(update=dict(severity="P2")))
    assert causes_of(read_experiment(other))[0].priority == "P0"


def test_the_report_and_the_catalogue_know_the_same_priorities():
    assert list(PRIORITIES) == ["P0", "P1", "P2", "P3"] == sorted({k.severity for k in known_failures()})


def test_a_lost_model_is_not_called_all_that_there_is(build):
    section = section_failures(read_experiment(two_of_four_broken(build)[0]))
    assert blocks(section)[0] == ("P1", "GPU 메모리 부족")
    assert "P1 일부 모델의 결과를 잃음" in section and "P3 급하지 않음" in section


# Frames and excerpts

HOME = "/home/kim lee/secret-project"
IPYTHON = f"""\x1b[31m---------------------------------------------------------------------------\x1b[39m
\x1b[31mRuntimeError\x1b[39m                              Traceback (most recent call last)
\x1b[36mCell\x1b[39m\x1b[36m \x1b[39m\x1b[32mIn[4]\x1b[39m\x1b[32m, line 1\x1b[39m
\x1b[32m----> \x1b[39m\x1b[32m1\x1b[39m fit(path="{HOME}/dev.csv", key="{KEY}")

\x1b[36mFile \x1b[39m\x1b[32m~/lab/dialsum/dialsum/training/trainer.py:120\x1b[39m, in \x1b[36mfit\x1b[39m(path)
\x1b[32m    119\x1b[39m     headers = dict(Authorization="Bearer {KEY}")
\x1b[32m--> \x1b[39m\x1b[32m120\x1b[39m     trainer.train()

\x1b[36mFile \x1b[39m\x1b[32m{SITE}/transformers/trainer.py:2345\x1b[39m, in \x1b[36mtrain\x1b[39m(self)
\x1b[32m   2344\x1b[39m     # as it should be
\x1b[32m-> \x1b[39m\x1b[32m2345\x1b[39m     raise RuntimeError(message)

\x1b[31mRuntimeError\x1b[39m: cannot read "{HOME}/dev.csv" with {KEY} from https://me:pw12345678@example.com
"""


def test_an_excerpt_holds_no_folder_and_no_key(build, monkeypatch):
    monkeypatch.setenv("OTHER_API_KEY", "nothing like a key")
    run, leave = build(models=["kobart"])
    text = IPYTHON + "nothing like a key"
    message = f'RuntimeError: cannot read "{HOME}/dev.csv" with {KEY} and nothing like a key'
    error = understood(run, message, text)
    assert error.innermost == "transformers/trainer.py:2345 in train"
    assert error.frames[-2:] == [
        "dialsum/training/trainer.py:120 in fit",
        "transformers/trainer.py:2345 in train",
    ]
    assert (
        0 < len(error.excerpt.splitlines()) <= EXCERPT and "dialsum/training/trainer.py:120" in error.excerpt
    )
    left(run, leave, "train", "kobart", error=error)
    [cause] = causes_of(read_experiment(run))
    section = section_failures(read_experiment(run))
    for part in (json.dumps(error.to_dict()), cause.message, cause.excerpt, section):
        for secret in (KEY, "nothing like a key", "pw12345678", "/opt/conda", "~/lab", "\\u001b"):
            assert secret not in part, secret
    for part in (cause.message, cause.excerpt, re.sub("(?s)```mermaid.*?```", "", section)):
        assert "kim lee" not in part and "secret-project" not in part
    assert "dev.csv" in cause.message and "transformers/trainer.py:2345 in train" in section


def test_a_key_in_an_earlier_fact_is_not_printed(build):
    run, leave = build(models=["kobart"])
    error = make_error("exception", "OddError", text=f"Incorrect API key provided: {KEY}")
    left(run, leave, "train", "kobart", error=error)
    assert KEY not in section_failures(read_experiment(run))


def test_of_a_process_that_died_the_last_lines_of_its_log_are_kept(tmp_path):
    lines = [f"step {i}\rstep {i}, {tmp_path}/a.csv" for i in range(400)]
    error = make_error("died", "StageDied", "stage_killed", dict(stage="kobart/train", signal="SIGKILL"))
    known = with_diagnosis(StageSpec(tmp_path, "train", "kobart"), error, "\n".join(lines))
    assert known.excerpt.splitlines() == [f"step {i}, a.csv" for i in range(394, 400)]
    assert known.frames == [] and known.innermost == ""


def test_a_refusal_of_ours_needs_no_excerpt(tmp_path):
    error = make_error("user", "DialsumError", "trained_in_full", dict(model="kobart", method="lora"))
    known = with_diagnosis(StageSpec(tmp_path, "train"), error, "DialsumError: kobart is trained in full")
    assert (known.excerpt, known.innermost) == ("", "")


# Commands

PARSER, DECLARED = parser(), plan_parameters()
TYPED = {
    "demo": "dialsum demo",
    "run": "dialsum run --models all --experiment-name mine --k_folds=5 --runs 'my runs' --use-tta",
    "checkpoints": "dialsum run --models kobart qwen3-4b --checkpoint qwen3-4b=w kobart=v --no-rehearse",
    "nobody noted it": "",
    "torn": "dialsum run 'oh",
}


def check_taken(command):
    "The command line takes a command of dialsum's, and each of its values"
    program, *words = shlex.split(command)
    if program == "dialsum":
        args, extra = PARSER.parse_known_args(with_dashes(words))
        values = {name: ",".join(v) if isinstance(v, list) else v for name, v in vars(args).items()}
        assert not extra, command
        for name in values.keys() & DECLARED.keys():
            DECLARED[name].convert(values[name])


def commands_of(cause):
    yield cause.command
    yield cause.verification
    for way in cause.ways:
        yield from (way.command, way.separate, *way.before)


@pytest.mark.parametrize("given", [(), ("qwen3-4b",)], ids=["hub", "given"])
@pytest.mark.parametrize("typed", TYPED.values(), ids=TYPED)
def test_every_command_is_one_that_the_command_line_takes(build, typed, given):
    options = dict(scale="replica", command=typed, workers=2, checkpoints=dict.fromkeys(given, "weights"))
    run, leave = build(models=["kobart", "qwen3-4b"], **options)
    leave("train", "kobart", found=metrics("train"))
    params = dict(batch_size=8, eval_batch_size=32, checkpoint="", learning_rate=2e-4)
    fields = dict(option="--load-timeout", seconds=300)
    kinds = [k for k in known_failures() if k.alternatives and not k.follows]
    for known in kinds:
        error = ErrorRecord.of(kind="exception", type="X", diagnosis=known.kind, fields=fields)
        left(run, leave, "train", "qwen3-4b", error=error, params=params)
        [cause] = causes_of(read_experiment(run))
        assert cause.command.startswith("dialsum "), known.kind
        for command in filter(None, commands_of(cause)):
            check_taken(command)
            assert "{" not in command


ODD = make_error("exception", "OddError", text="odd")


def test_a_command_finds_the_run_folder_again(build):
    typed = "dialsum run --runs=lab/runs"  # a folder of the one in which it was typed
    run, leave = build("20261121_012847_a name", models=["kobart"], command=typed)
    left(run, leave, "train", "kobart", error=ODD)
    [cause] = causes_of(read_experiment(run))
    assert cause.command == f"dialsum resume '20261121_012847_a name' --runs {run.parent}"
    assert cause.verification == (
        "dialsum run --models kobart --scale full --debug --epochs 1 "
        f"--experiment-name 'a name-check' --runs {run.parent}"
    )


def test_the_usual_folder_is_in_no_command(build, monkeypatch):
    run, leave = build(models=["kobart"], command="dialsum run --runs lab/runs")
    monkeypatch.setattr("dialsum.runs.shell.find_checkout", lambda: run.parent.parent)
    left(run, leave, "train", "kobart", error=ODD)
    e = read_experiment(run)
    [cause] = causes_of(e)
    assert cause.command == f"dialsum resume {NAME}" and "--runs" not in render(e)


def test_a_run_folder_that_was_moved_is_found_where_it_lies(build, tmp_path):
    run, leave = build(models=["kobart"], command=f"dialsum run --runs {tmp_path}/runs")
    left(run, leave, "train", "kobart", error=ODD)
    moved = run.rename(tmp_path / run.name)
    text = render(read_experiment(moved))
    commands = re.findall(r"dialsum (?:run|resume|preflight) [^\n`]*", text)
    assert len(commands) >= 4 and all(command.endswith(f"--runs {tmp_path}") for command in commands), (
        commands
    )


def test_a_command_is_never_shortened(build, tmp_path, monkeypatch):
    data = tmp_path / "대회 자료" / "train|1.csv"
    options = dict(train_csv=str(data), checkpoints={"kobart": str(tmp_path / "home" / "weights")})
    typed = "dialsum run --train-csv ../train.csv --checkpoint weights --reports elsewhere"
    run, leave = build(models=["kobart"], command=typed, reports=str(tmp_path / "reports"), **options)
    error = make_error(
        "user",
        "DialsumError",
        "checkpoint_folder_missing",
        dict(model="kobart", folder=str(data), example="x/y"),
    )
    left(run, leave, "train", "kobart", error=error)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text = render(read_experiment(run))
    blocks = re.findall(r"(?s)```bash\n(.*?)\n```", text)
    assert blocks and not any("…" in command for command in blocks)
    again = blocks[-2]  # what was typed, before what goes on with it
    assert again == (
        f"dialsum run --train-csv '{data}' --checkpoint kobart=~/weights --reports {tmp_path}/reports"
    )
    assert f"--train-csv '{data}'" in blocks[1] and str(tmp_path) not in text.split("- **이유:**")[1][:100]


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ({}, "--checkpoint kobart=체크포인트_폴더"),
        ({"kobart": "weights"}, f"--checkpoint kobart={CARDS['kobart'].checkpoint}"),
    ],
    ids=["hub", "given"],
)
def test_another_checkpoint_is_named_in_the_command(build, given, command):
    run, leave = build(models=["kobart"], checkpoints=given)
    fields = dict(model="kobart", checkpoint="w", verb="fetch", command="dialsum fetch kobart")
    error = make_error("user", "DialsumError", "hub_model_missing", fields)
    left(run, leave, "train", "kobart", error=error)
    [cause] = causes_of(read_experiment(run))
    words = f"dialsum resume {NAME} --runs {run.parent} {command}"
    assert shlex.split(cause.command) == shlex.split(words)
    check_taken(cause.command)


def test_a_remedy_of_the_catalogue_names_this_experiment_once(build):
    run, leave = build(models=["kobart"])
    left(run, leave, "train", "kobart", error=make_error("interrupted", "KeyboardInterrupt"))
    [cause] = causes_of(read_experiment(run))
    assert "실험이름" not in cause.remedy + cause.action
    line = next(line for line in render(read_experiment(run)).split("\n") if line.startswith("| P0"))
    assert (
        line.count(f"`dialsum resume {NAME} --runs {run.parent}`") == 1 and line.count("dialsum resume") == 1
    )


def test_a_value_is_filled_in_where_the_facts_know_it(build):
    run, leave = build(models=["qwen3-4b"], scale="full")
    oom = understood(run, OOM, model="qwen3-4b")
    left(run, leave, "train", "qwen3-4b", error=oom, params=dict(batch_size=16))
    limit = make_error(
        "timeout",
        "TimeLimit",
        "time_limit_exceeded",
        dict(what="loading", seconds=300.0, option="--load-timeout"),
    )
    left(run, leave, "predict", "qwen3-4b", error=limit)
    memory, time = causes_of(read_experiment(run))
    assert "--batch-size 8 --gradient-accumulation-steps 2" in memory.command
    assert time.command.endswith("--load-timeout 600")
    bare, leave = build("bare", models=["qwen3-4b"])
    left(bare, leave, "train", "qwen3-4b", error=oom)  # nobody knows the batch
    assert "--gradient-checkpointing" in causes_of(read_experiment(bare))[0].command


def test_an_option_named_with_its_value_is_taken(build):
    run, leave = build(models=["qwen3-4b"])
    fields = dict(model="qwen3-4b", folder="a", rank=8, lora_r=16)
    left(
        run,
        leave,
        "train",
        "qwen3-4b",
        error=make_error("user", "DialsumError", "adapter_rank_differs", fields),
    )
    [cause] = causes_of(read_experiment(run))
    assert cause.command == f"dialsum resume {NAME} --runs {run.parent} --lora-r 8"


def test_what_a_way_would_train_again_is_told(build):
    run, leave = build(models=["kobart", "qwen3-4b"], scale="full", command="dialsum run", batch_size=16)
    leave("train", "kobart", found=metrics("train"))
    left(run, leave, "train", "qwen3-4b", error=understood(run, OOM, model="qwen3-4b"))
    best, *others = causes_of(read_experiment(run))[0].ways
    assert best.reruns == ("KoBART",) and best.separate.startswith(
        "dialsum run --models qwen3-4b --scale full"
    )
    quantized = next(way for way in others if "qlora" in way.options)
    assert quantized.command.startswith("dialsum run --models qwen3-4b ")  # KoBART has no such method
    section = section_failures(read_experiment(run))
    before, warning, after = section.partition("KoBART의 성공한 단계도 다시 실행합니다")
    assert warning and best.separate in before and best.command in after and best.command not in before


def test_what_is_already_so_is_not_advised(build):
    run, leave = build(models=["kobart"], workers=1)
    error = make_error("died", "StageDied", "stage_killed", dict(stage="kobart/train", signal="SIGKILL"))
    left(run, leave, "train", "kobart", error=error)
    assert all("--workers" not in way.command for way in causes_of(read_experiment(run))[0].ways)


def test_an_experiment_that_was_resumed_has_its_later_options(build):
    run, leave = build(models=["kobart"], command="dialsum run --num-beams 4 --use-tta --epochs 2")
    record = json.loads((run / "experiment.json").read_text())
    changed = dict(num_beams=[4, 2], use_tta=[True, False], models=[["kobart"], ["kobart"]])
    record["attempts"] = [dict(time=at(9), command="dialsum resume", changed=changed)]
    (run / "experiment.json").write_text(json.dumps(record))
    left(
        run,
        leave,
        "train",
        "kobart",
        error=understood(run, "OddError: no", model="kobart"),
    )
    words = causes_of(read_experiment(run))[0].verification.split(" ")
    assert (
        words[words.index("--num-beams") + 1] == "2" and "--no-use-tta" in words and "--use-tta" not in words
    )


# Why others got through


def test_no_difference_is_told_that_the_failure_does_not_depend_on(build):
    run, leave = whole(build, models=["kobart", "qwen3-4b"])
    left(run, leave, "train", "solar-10.7b", error=understood(run, "OddError: no", model="solar-10.7b"))
    record = json.loads((run / "experiment.json").read_text())
    record["options"]["models"].append("solar-10.7b")
    (run / "experiment.json").write_text(json.dumps(record))
    assert causes_of(read_experiment(run))[0].contrasts == ()
    fp16 = understood(run, "ValueError: Attempting to unscale FP16 gradients.", model="solar-10.7b")
    left(run, leave, "train", "solar-10.7b", error=fp16)
    assert causes_of(read_experiment(run))[0].contrasts == ()  # Qwen3-4B is a decoder with LoRA as well
    oom = understood(run, OOM, model="solar-10.7b")
    left(run, leave, "train", "solar-10.7b", error=oom)
    assert causes_of(read_experiment(run))[0].contrasts == ()  # the sizes of toys


def test_what_a_failure_depends_on_has_a_korean_name():
    factors = {factor for k in known_failures() for factor in k.depends_on}
    assert factors == set(FACTORS)


# Words


@pytest.mark.parametrize("known", known_failures(), ids=lambda k: k.kind)
def test_what_the_catalogue_says_is_korean(known):
    sentences = [text for a in known.alternatives for text in (a.action, a.reason)]
    for text in (known.title, *sentences):
        bare = re.sub("`[^`]*`", "", text)
        assert re.search("[가-힣]", bare) and text.count("`") % 2 == 0, text
        assert not re.search(r"[A-Za-z']+(?:[ ,]+[A-Za-z']+){2,}", bare), text
        assert not re.search(r"\((?:은|는|이|가|을|를|으)\)", text), text
    assert all(re.search(r"다\)?\.$", text) for text in sentences)
    assert not known.title.endswith(".") and len(known.title) <= 40
    assert len(known.alternatives) < 2 or all(a.reason for a in known.alternatives)


def test_the_commonest_failures_have_alternatives():
    families = {k.kind.partition("-")[0] for k in known_failures() if k.alternatives}
    assert {"memory", "precision", "checkpoint", "tokenizer", "network", "disk", "dialsum", "api"} <= families
    assert sum(len(k.alternatives) > 1 for k in known_failures()) >= 12


def test_the_fields_of_alternatives_are_known_to_somebody(build):
    run, leave = build(models=["qwen3-4b"], scale="full", checkpoints={"qwen3-4b": "w"}, eval_batch_size=32)
    error = make_error("exception", "X", text="x")
    left(run, leave, "train", "qwen3-4b", error=error, params=dict(batch_size=8, learning_rate=1e-4))
    e = read_experiment(run)
    steps = [s for s in e.steps if s.status == "failed"]
    values = known_values(e, steps, dict(seconds=3.0, option="--load-timeout")) | dict(hub_models="")
    for known in known_failures():
        for alternative in known.alternatives:
            names = re.findall(r"\{(\w+)\}", " ".join([alternative.options, *alternative.before]))
            assert set(names) <= values.keys(), known.kind


def test_particles_fit_in_a_whole_report(build, tmp_path):
    run, _leave = crowd(build, folds=2, command="dialsum run --models all")
    text = re.sub(r"^(`{3,}).*?^\1$", "", render(read_experiment(run)), flags=re.S | re.M)
    section = text.split("## 실패와 미실행")[1].split("\n## ")[0]
    assert not re.search(r"\((?:은|는|이|가|을|를|와|과|으)\)", section)
    assert "36분이 걸렸습니다" not in section and "18분이 걸렸습니다" in section
