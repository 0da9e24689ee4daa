"An experiment as scripts, and one stage of it as a job"

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.slurm import Queue

from dialsum.commands.export import SCRIPTS
from dialsum.commands.resumption import noted_request
from dialsum.pipeline.jobs import JobLost, run_job
from dialsum.runs.errors import DialsumError
from dialsum.runs.events import read_events
from dialsum.runs.facts import experiment_record, make_fact
from dialsum.runs.leases import hold

ODD = "연구 '실험' \"a\" $HOME `date` %j 100%"
SMALL = [
    "--models",
    "kobart",
    "qwen3-4b",
    "--scale",
    "replica",
    "--debug",
    "--no-rehearse",
    "--name",
    "작은 것",
]
STUB = """#!/bin/sh
printf '%s\\n' "$PWD" "$@" >> "$CALLS"
trap 'exit 75' TERM
if [ -e "$CALLS.$(echo "$6" | tr / .)" ]; then
    code=$(cat "$CALLS.$(echo "$6" | tr / .)")
    [ "$code" != wait ] || { touch "$CALLS.waits"; while :; do sleep 0.01; done; }
    [ "$code" != 75 ] || rm "$CALLS.$(echo "$6" | tr / .)"
    exit "$code"
fi
"""


@pytest.fixture
def stub(tmp_path, monkeypatch):
    "A Python that notes how it was called; `stub.ends('kobart/train', 1)` says how such a job ends"

    class Stub:
        path = tmp_path / "a 'python' of 누군가" / "python"
        file = tmp_path / "calls"

        def ends(self, stage, code):
            self.file.with_name(f"calls.{stage.replace('/', '.')}").write_text(str(code))

        def calls(self):  # (folder of the experiment, stage) of each
            lines = self.file.read_text().splitlines() if self.file.exists() else []
            starts = [i for i, line in enumerate(lines) if line == "-P"]
            assert all(lines[i : i + 4] == ["-P", "-m", "dialsum.cli", "job"] for i in starts)
            return [(lines[i + 4], lines[i + 5]) for i in starts]

        def stages(self):
            return [stage for _, stage in self.calls()]

    Stub.path.parent.mkdir()
    Stub.path.write_text(STUB)
    Stub.path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(Stub.path))
    monkeypatch.setenv("CALLS", str(Stub.file))
    return Stub()


@pytest.fixture
def export(typed, tmp_path):
    "A function that exports an experiment into a folder with an odd name: (the run folder, its plan)"

    def export(*words, models=SMALL):
        done = typed(
            *(
                "export",
                *models,
                "--runs",
                tmp_path / ODD,
                "--reports",
                tmp_path / "reports",
                "--json",
                *words,
            )
        )
        assert done.returncode == 0, done.stderr
        outcome = json.loads(done.stdout)
        run = Path(outcome["run"])
        assert shlex.split(outcome["command"])[-1] == str(run / "export" / SCRIPTS[words[1]][0])
        return run, noted_request(experiment_record(run)).stages(run)

    return export


def shell(script, *words, **more):
    return subprocess.run(
        ["sh", script, *words], cwd="/", env=os.environ | more, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "one of sh, slurm, snakemake"),
        (["--to", "pbs"], "pbs"),
        (["--to", "sh", "--sbatch", "--partition=gpu"], "--sbatch does nothing with --to sh"),
        (["--to", "slurm", "--sbatch", "--comment='a"], "--sbatch cannot be split"),
        (
            ["--to", "slurm", "--sbatch", "--comment=sk-test-4711-of-somebody"],
            "--sbatch holds the value of a key",
        ),
        (["--to", "sh", "--cpus", "0"], "--cpus"),
        (["--to", "sh", "--workers", "2"], "unknown option of export"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence_and_makes_no_folder(words, said, typed, tmp_path):
    done = typed(
        "export", *SMALL, "--runs", tmp_path / "runs", *words, UPSTAGE_API_KEY="sk-test-4711-of-somebody"
    )
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / "runs").exists()


def test_the_shell_script_takes_every_stage_in_order_and_goes_on_after_a_failure(export, stub):
    run, plan = export("--to", "sh")
    script = run / "export" / "run.sh"
    done = shell(script)
    assert done.returncode == 0, done.stderr
    assert stub.calls() == [(str(run), spec.key) for spec in plan]
    stub.file.unlink()
    stub.ends("kobart/train", 1)
    stub.ends("qwen3-4b/train", 75)  # lost once
    done = shell(script)
    assert done.returncode == 1 and f"1 of {len(plan)} jobs did not succeed" in done.stderr
    again = [spec.key for spec in plan]
    again.insert(again.index("qwen3-4b/train"), "qwen3-4b/train")
    assert stub.stages() == again


def test_a_run_folder_that_was_moved_is_found_by_its_scripts(export, stub, tmp_path):
    run, _ = export("--to", "sh")
    moved = run.rename(tmp_path / "옮긴 '곳'")
    assert shell(moved / "export" / "run.sh").returncode == 0
    assert {folder for folder, _ in stub.calls()} == {str(moved)}


def test_a_limit_of_a_stage_is_handed_on(export, stub):
    run, _ = export("--to", "sh", "--stage-timeout", "90")
    assert shell(run / "export" / "run.sh").returncode == 0
    assert stub.file.read_text().count("\n--stage-timeout\n90\n") == len(stub.calls())


@pytest.fixture
def queue(tmp_path):
    return Queue(tmp_path / "slurm")


def submit(run, queue):
    return shell(run / "export" / "submit.sh", PATH=queue.environment(dict(os.environ))["PATH"])


def test_jobs_of_slurm_wait_for_what_the_plan_says_and_ask_for_what_a_stage_needs(export, stub, queue):
    run, plan = export("--to", "slurm", "--cpus", "2", "--sbatch", "--partition=gpu --comment='우리 것'")
    done = submit(run, queue)
    assert done.returncode == 0, done.stderr
    jobs = queue.jobs
    stages = {number: job["arguments"][1] for number, job in jobs.items()}
    waits = {stages[number]: {stages[before] for before in job["before"]} for number, job in jobs.items()}
    assert waits == {spec.key: {*spec.needs, *spec.after} for spec in plan}
    assert [line.split() for line in done.stdout.splitlines()] == [list(pair) for pair in stages.items()]
    for job in jobs.values():
        options = job["options"]
        assert job["arguments"][0] == options["--chdir"] == str(run)
        assert {"--requeue", "--parsable"} <= options.keys() and "--time" not in options
        assert options["--partition"] == "gpu" and options["--comment"] == "우리 것"
        assert options["--cpus-per-task"] == "2" and re.fullmatch(r"\d+G", options["--mem"])
        assert options.get("--dependency", "afterany:").startswith("afterany:") and "--gres" not in options
    queue.run()
    assert stub.calls() == [(str(run), stage) for stage in queue.order]
    assert stub.file.read_text().count("\n--threads\n2\n") == len(plan)
    assert len(list((run / "export" / "logs").iterdir())) == len(plan)


def test_models_at_full_size_ask_for_a_gpu_and_larger_ones_for_more_memory(export, stub, queue):
    full = ["--models", "kobart", "qwen3-14b", "--scale", "full"]
    run, _ = export("--to", "slurm", models=full)
    assert submit(run, queue).returncode == 0
    options = {job["arguments"][1]: job["options"] for job in queue.jobs.values()}
    gpus = {stage for stage, of_stage in options.items() if of_stage.get("--gres") == "gpu:1"}
    assert gpus == {stage for stage in options if "/" in stage} | {"preflight"}
    memory = {stage: int(of_stage["--mem"][:-1]) for stage, of_stage in options.items()}
    assert memory["data"] < memory["kobart/train"] < memory["qwen3-14b/train"] == memory["preflight"]


def test_without_a_gpu_the_memory_of_the_machine_holds_it_all(export, stub, queue):
    run, _ = export("--to", "slurm", "--no-gpu", models=["--models", "kobart", "--scale", "full"])
    assert submit(run, queue).returncode == 0
    assert not any("--gres" in job["options"] for job in queue.jobs.values())


def test_a_job_that_is_lost_goes_back_into_the_queue_and_a_failed_one_does_not(export, stub, queue):
    run, plan = export("--to", "slurm")
    assert submit(run, queue).returncode == 0
    stub.ends("kobart/train", 75)
    stub.ends("qwen3-4b/train", 1)
    queue.run()
    assert queue.codes["kobart/train"] == [75, 0] and queue.codes["qwen3-4b/train"] == [1]
    assert set(queue.codes) == {spec.key for spec in plan}  # everything else went on


def test_a_job_is_told_of_the_end_of_its_time(export, stub, queue):
    run, _ = export("--to", "slurm")
    assert submit(run, queue).returncode == 0
    stub.ends("data", "wait")
    waits = stub.file.with_name("calls.waits")

    def told():
        if waits.exists():
            stub.file.with_name("calls.data").unlink()
        return waits.exists()

    queue.run("data", when=told)
    assert queue.codes["data"] == [75, 0]


def test_what_sbatch_does_not_take_stops_the_submission(export, stub, queue):
    run, _ = export("--to", "slurm", "--sbatch", "--partition=nowhere")
    done = submit(run, queue)
    assert done.returncode == 1 and "sbatch did not take preflight" in done.stderr
    assert "scancel" not in done.stderr and not queue.jobs


def test_without_sbatch_the_script_for_slurm_is_one_sentence(export, stub, tmp_path):
    run, _ = export("--to", "slurm")
    bare = tmp_path / "bin"  # no machine of SLURM's, whatever this one is
    bare.mkdir()
    for name in ("sh", "dirname", "mkdir", "printf", "tr"):
        (bare / name).symlink_to(shutil.which(name))
    done = shell(run / "export" / "submit.sh", PATH=str(bare))
    assert done.returncode == 2 and not done.stdout and not (run / "export" / "logs").exists()
    assert "no sbatch on the PATH" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("has_it", [True, False])
def test_where_there_is_no_snakemake_the_export_says_so_in_a_line(has_it, typed, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    if has_it:
        (tmp_path / "bin" / "snakemake").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    done = typed("export", "--to", "snakemake", *SMALL, "--runs", tmp_path / "runs")
    assert done.returncode == 0 and "snakemake --cores 4" in done.stdout, done.stderr
    said = [line for line in done.stderr.splitlines() if "no snakemake on the PATH" in line]
    assert len(said) == (0 if has_it else 1)


def test_rules_of_snakemake_wait_for_what_the_plan_says(export, stub):
    run, plan = export("--to", "snakemake")
    text = (run / "export" / "Snakefile").read_text()
    rules = re.findall(
        r"^rule (\w+):\n(?:    input: (.*)\n)?    output: ENDED\[(\d+)\]\n.*stage='(.*)'$", text, re.M
    )
    ended = [key for *_, key in rules]
    waits = {
        key: {ended[int(place)] for place in re.findall(r"ENDED\[(\d+)\]", inputs)}
        for _, inputs, _, key in rules
    }
    assert waits == {spec.key: {*spec.needs, *spec.after} for spec in plan}
    assert [int(place) for *_, place, _ in rules] == list(range(len(plan)))
    assert len({name for name, *_ in rules}) == len(plan) == text.count("    resources: mem_mb=")
    assert re.findall(r'^    ["\']ended/(.*)["\'],$', text, re.M) == [spec.key for spec in plan]
    assert f"PYTHON = {str(stub.path)!r}" in text


@pytest.mark.parametrize("target", SCRIPTS)
def test_no_key_lands_in_a_script(target, export, stub, monkeypatch):
    monkeypatch.setenv("UPSTAGE_API_KEY", "up_0123456789abcdefghijkl")
    run, _ = export("--to", target, "--use-solar-api", "--solar-samples", "2")
    for path in filter(Path.is_file, run.rglob("*")):
        assert "up_0123456789" not in path.read_text(), path


@pytest.fixture
def job(typed, monkeypatch):
    monkeypatch.setenv("DIALSUM_EVENTS", "")  # put back afterwards
    monkeypatch.delenv("DIALSUM_EVENTS")
    return lambda run, key, *words: typed("job", run, key, *words)


HOLD = """import sys, time
from pathlib import Path
from dialsum.runs.leases import hold
hold(Path(sys.argv[1]), *sys.argv[2:])
print("held", flush=True)
time.sleep(600)"""


@contextmanager
def held(*words):  # by another process; words: as for `hold`
    other = subprocess.Popen([sys.executable, "-c", HOLD, *words], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"held\n"
        yield
    finally:
        other.kill()
        other.wait()


def test_a_job_runs_its_stage_once_and_what_needs_a_failed_one_is_blocked(export, job):
    run, plan = export("--to", "sh")
    first = job(run, "data")
    assert first.returncode == 0 and "data success" in first.stdout, first.stderr
    assert job(run, "data").returncode == 0
    assert [e["event"] for e in read_events(run) if e["event"] in ("start", "kept")] == ["start", "kept"]
    (run / "preflight.json").write_text("{")  # torn
    assert run_job(plan, "kobart/train", lag=0).status == "blocked"
    blocked = job(run, "kobart/evaluate")
    assert blocked.returncode == 1 and "kobart/train did not succeed" in blocked.stdout
    slip = job(run, "kobart/trian")
    assert slip.returncode == 2 and "did you mean 'kobart/train'" in slip.stderr


def test_a_job_stays_out_while_an_experiment_is_run_or_resumed(export, job):
    run, _ = export("--to", "sh")
    with held(run):
        refused = job(run, "data")
    assert refused.returncode == 2 and "another process" in refused.stderr
    assert not (run / "data.json").exists()


def test_a_driver_that_begins_while_a_job_begins_is_seen(export, monkeypatch):
    _, plan = export("--to", "sh")
    monkeypatch.setattr("dialsum.pipeline.jobs.run_undone", lambda *words, **more: pytest.fail("both work"))
    with ExitStack() as drivers:

        def late(run, *words):
            drivers.enter_context(held(run))
            return hold(run, *words)

        monkeypatch.setattr("dialsum.pipeline.jobs.hold", late)
        with pytest.raises(DialsumError, match="another process"):
            run_job(plan, "data", lag=0)


def test_of_two_jobs_of_one_stage_the_later_is_to_be_tried_again(export, monkeypatch):
    _, plan = export("--to", "sh")
    with ExitStack() as jobs:

        def late(run, *words):
            jobs.enter_context(held(run, *words))
            return hold(run, *words)

        monkeypatch.setattr("dialsum.pipeline.jobs.hold", late)
        with pytest.raises(JobLost):
            run_job(plan, "data", lag=0)


def test_a_job_that_comes_too_early_is_to_be_tried_again(export, job):
    run, _ = export("--to", "sh")
    with held(run, "job.kobart_train", "kobart/train"):
        early = job(run, "kobart/evaluate")
        twice = job(run, "kobart/train")
    assert (early.returncode, twice.returncode) == (75, 75)
    assert "kobart/train runs in another process" in early.stderr
    assert not (run / "kobart" / "evaluate.json").exists()


def test_what_was_cancelled_before_it_began_does_not_keep_the_report_away(export, job, monkeypatch):
    _, plan = export("--to", "sh")
    lines = []
    ran = make_fact(plan[0].run, "report", "success")
    monkeypatch.setattr("dialsum.pipeline.jobs.run_undone", lambda *words, **more: ran)
    assert run_job(plan, "report", say=lines.append, lag=0) is ran
    assert "kobart/train has left no fact: report goes on without it" in map(str, lines)
