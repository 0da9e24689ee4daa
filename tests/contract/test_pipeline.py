"Experiments from start to report, on toys"

import json
import signal
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from dialsum.pipeline.done import is_done, why_undone
from dialsum.pipeline.ownership import state
from dialsum.pipeline.placement import EVERYTHING
from dialsum.pipeline.process import _environment, run_stage
from dialsum.pipeline.spec import StageSpec
from dialsum.runs.error_facts import error_sentence
from dialsum.runs.errors import DialsumError
from dialsum.runs.facts import read_fact, read_facts
from dialsum.runs.folders import new_run
from dialsum.runs.stage import begin


def outcome(done):
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow  # nbs/modules/pipeline/scheduler shows the same without the command line
def test_a_failing_model_stops_nothing_else(dialsum, tmp_path):
    "A checkpoint of another architecture, given to one of two models; all folders relative"
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text(
        '{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}'
    )
    (tmp_path / "llama" / "model.safetensors").write_bytes(b"")
    done = dialsum(
        "run",
        "--models",
        "kobart",
        "qwen3-4b",
        "--scale",
        "replica",
        "--debug",
        "--max-new-tokens",
        "8",
        "--checkpoint",
        "qwen3-4b=llama",
        "--runs",
        "my/runs",
        "--reports",
        "my/reports",
        "--json",
        cwd=tmp_path,
    )
    told = outcome(done)
    assert done.returncode == 1
    status = {m["model"]: m["stages"] for m in told["models"]}
    assert status["kobart"] == dict(train="success", evaluate="success", predict="success") and status[
        "qwen3-4b"
    ] == dict(train="failed", evaluate="blocked", predict="blocked")
    assert (
        "the architecture is 'llama', not 'qwen3'" in told["failed"][0]["message"]
        and told["failed"][0]["remedy"]
    )
    run = Path(told["run"])
    fact = read_fact(run / "qwen3-4b" / "train.json")
    assert (
        run.is_relative_to(tmp_path / "my" / "runs")
        and fact.error.kind == "preflight"
        and read_fact(run / "submit.json").metrics.chosen == "kobart"
    )
    assert (
        "llama" in Path(told["report"]).read_text(encoding="utf-8")
        and Path(told["report"]).parent == tmp_path / "my" / "reports"
    )


@pytest.mark.slow
def test_a_killed_kernel_is_a_failed_stage(tmp_path):
    import psutil

    run = new_run("killed", {}, tmp_path)
    spec = StageSpec(run, "train", "kobart", dict(scale="replica", epochs=500, early_stopping_patience=0))

    def kill_kernel():
        for _ in range(6000):
            time.sleep(0.1)
            for p in psutil.Process().children(recursive=True):
                try:
                    found = any("ipykernel_launcher" in word for word in p.cmdline())
                except psutil.Error:
                    continue
                if (
                    found
                    and (run / "events.jsonl").is_file()
                    and "beat" in (run / "events.jsonl").read_text()
                ):
                    p.send_signal(signal.SIGKILL)
                    return

    killer = threading.Thread(target=kill_kernel)
    killer.start()
    fact = run_stage(spec)
    killer.join()
    assert fact.status == "failed" and fact.error.kind == "died" and spec.read() == fact, fact.error
    print(fact.error)
    assert not is_done(spec)


def test_a_stage_that_takes_too_long_is_ended(tmp_path):
    import psutil

    spec = StageSpec(
        new_run("slow", {}, tmp_path),
        "train",
        "kobart",
        dict(scale="replica", epochs=500, early_stopping_patience=0),
    )
    fact = run_stage(spec, timeout=12)
    assert fact.error.kind == "timeout" and "12 s" in error_sentence(fact.error)
    assert not [
        p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])
    ]


def test_bare_papermill_keeps_its_results(call, checkout):
    done = call(
        "papermill",
        "nbs/data.ipynb",
        "out.ipynb",
        "-p",
        "debug",
        "True",
        "-p",
        "train_csv",
        "nbs/sample/train.csv",
        "-y",
        "dev_fraction: 2e-1",
        "--no-progress-bar",
    )
    assert done.returncode == 0, done.stderr
    [run] = (checkout / "runs").glob("*_data")
    assert (
        read_fact(run / "data.json").params["dev_fraction"] == 0.2
        and len(pd.read_csv(run / "data" / "train.csv")) == 50
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_everything_soon(how, env, tmp_path):
    import subprocess
    import sys

    import psutil

    process = subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-c",
            "import sys; from dialsum.cli import main; sys.exit(main())",
            "run",
            "--models",
            "kobart",
            "solar",
            "--scale",
            "replica",
            "--epochs",
            "500",
            "--early-stopping-patience",
            "0",
            "--no-rehearse",
            "--runs",
            str(tmp_path / "runs"),
            "--reports",
            str(tmp_path / "reports"),
        ],
        env=env,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a shell's background job ignores it
    )
    for _ in range(6000):
        time.sleep(0.1)
        if any('"beat"' in p.read_text() for p in tmp_path.glob("runs/*/events.jsonl")):
            break
    tree = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(how)
    try:
        assert process.wait(100) == 130
    finally:
        process.kill()
    assert len(tree) >= 2 and not [p for p in tree if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    [run] = (tmp_path / "runs").iterdir()
    assert (
        any(f.status == "failed" and f.error.kind == "interrupted" for f in read_facts(run))
        and not list(run.rglob("*.tmp"))
        and state(run) == "interrupted"
    )


def half_written(path):
    path.write_text(path.read_text()[:300])


def another_schema(path):
    path.write_text('{"schema": 0, "status": "success"}')


def edited_by_hand(path):
    path.write_text(path.read_text().replace('"seconds"', '"minutes"'))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (half_written, "not valid JSON"),
        pytest.param(another_schema, "schema", marks=pytest.mark.slow),
        pytest.param(edited_by_hand, "not as its stage wrote it", marks=pytest.mark.slow),
    ],
    ids=lambda d: getattr(d, "__name__", ""),
)
def test_a_fact_file_that_cannot_be_believed_is_set_aside_and_done_again(damage, words, tmp_path):
    spec, said = StageSpec(new_run("broken", {}, tmp_path), "data", "", dict(debug=True)), []
    first = run_stage(spec)
    damage(spec.fact)
    again = run_stage(spec, say=said.append)
    assert again.status == "success" and again.outputs == first.outputs and again.started > first.started
    assert (
        len(said) == 1
        and said[0].startswith("data runs again")
        and words in said[0]
        and (spec.run / "data.json.set-aside").is_file()
    )
    assert why_undone(spec) is None


def test_what_has_changed_is_said_and_only_that_runs_again(tmp_path):
    spec = StageSpec(new_run("changed", {}, tmp_path), "data", "", dict(debug=True))
    assert str(why_undone(spec)) == "it has not run" and run_stage(spec).status == "success"
    assert str(why_undone(StageSpec(spec.run, "data", "", dict(debug=True, seed=7)))) == "seed was 42, now 7"
    kept = (spec.run / "data" / "dev.csv").read_bytes()
    (spec.run / "data" / "dev.csv").write_bytes(kept + b"x")
    assert str(why_undone(spec)) == "its output 'data' has changed"
    (spec.run / "data" / "dev.csv").write_bytes(kept)
    assert why_undone(spec) is None
    fact = read_fact(spec.fact)
    fact.environment.package_code = "older"
    from dialsum.runs.facts import write_fact

    write_fact(spec.run, spec.fact, fact)
    assert why_undone(spec) is None and str(why_undone(spec, strict=True)) == "dialsum itself has changed"


def test_a_stage_keeps_few_compiled_kernels_unless_somebody_wants_more(tmp_path, monkeypatch):
    def kernels():
        return _environment(StageSpec(tmp_path, "data"), 1, EVERYTHING)["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]

    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    assert kernels() == "128"
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "2000")
    assert kernels() == "2000"


def test_what_another_stage_should_have_left_is_asked_for_by_name(tmp_path):
    stage = begin("soup", dict(run=str(new_run("x", {}, tmp_path))))
    with pytest.raises(DialsumError, match="^soup: there is no 'kobart/model' in the run"):
        stage.use(stage.run / "kobart" / "model")
