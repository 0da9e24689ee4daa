"""A SLURM that is small: `sbatch`, `scontrol` and `squeue` on the PATH, and a queue that runs what was submitted.

Started as a program it is one of those commands: `python slurm.py sbatch …`; its state is a folder of JSON files."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PYTHON = sys.executable
FLAGS = {"--parsable", "--requeue"}
OPTIONS = {
    *("--signal", "--open-mode", "--job-name", "--chdir", "--output", "--dependency"),
    *("--mem", "--cpus-per-task", "--gres", "--partition", "--time", "--account", "--comment"),
}


def refused(reason: str) -> int:
    print(f"sbatch: error: {reason}", file=sys.stderr)
    return 1


def read_words(
    words: list[str],
) -> tuple[dict[str, str], list[str]]:  # (options, the script with its arguments)
    options = {}
    for place, word in enumerate(words):
        if not word.startswith("--"):
            return options, words[place:]
        name, _, value = word.partition("=")
        if name not in FLAGS | OPTIONS:
            raise ValueError(f"unrecognized option '{word}'")
        options[name] = value
    raise ValueError("no script")


def sbatch(state: Path, words: list[str]) -> int:
    try:
        options, [script, *arguments] = read_words(words)
    except ValueError as e:
        return refused(str(e))
    if options.get("--partition") == "nowhere":
        return refused("invalid partition specified: nowhere")
    before = options.get("--dependency", "afterany").split(":")[1:]
    number = str(100 + len(list(state.glob("*.json"))))
    if not all((state / f"{job}.json").exists() for job in before):
        return refused("Job dependency problem")
    (state / f"{number}.sh").write_bytes(Path(script).read_bytes())  # SLURM runs a copy, under another name
    (state / f"{number}.sh").chmod(0o755)
    job = dict(options=options, arguments=arguments, before=before, environment=dict(os.environ), words=words)
    (state / f"{number}.json").write_text(json.dumps(job))
    print(f"{number};cluster")  # of a cluster that has a name
    return 0


def scontrol(state: Path, words: list[str]) -> int:
    command, number = words
    assert command == "requeue"
    (state / f"{number}.requeue").touch()
    return 0


def squeue(state: Path, words: list[str]) -> int:
    print(*(p.stem for p in sorted(state.glob("*.json"))), sep="\n")
    return 0


class Queue:
    "What was submitted, and what became of it"

    def __init__(self, folder: Path) -> None:
        self.state, self.bin = folder / "state", folder / "bin"
        self.codes: dict[str, list[int]] = {}  # stage → exit codes of its job, one for each time it ran
        self.order: list[str] = []  # stages in the order in which their jobs began
        for made in (self.state, self.bin):
            made.mkdir(parents=True)
        for name in ("sbatch", "scontrol", "squeue"):
            words = map(shlex.quote, [PYTHON, "-I", __file__, name, str(self.state)])
            (self.bin / name).write_text(f'#!/bin/sh\nexec {" ".join(words)} "$@"\n')
            (self.bin / name).chmod(0o755)

    def environment(self, environment: dict[str, str]) -> dict[str, str]:
        return environment | dict(PATH=f"{self.bin}:{environment['PATH']}")

    @property
    def jobs(self) -> dict[str, dict]:  # by number, in their order
        return {p.stem: json.loads(p.read_text()) for p in sorted(self.state.glob("*.json"))}

    def run(self, preempt: str = "", when: Callable[[], bool] = lambda: True) -> None:
        "Run all jobs, each after those before it; the one of the stage `preempt` is told once to go, `when` it is time"
        ended: set[str] = set()
        jobs = self.jobs
        while len(ended) < len(jobs):
            number = next(n for n, job in jobs.items() if n not in ended and ended >= set(job["before"]))
            stage = jobs[number]["arguments"][1]
            self.order.append(stage)
            told = self.codes.get(stage) or stage != preempt
            code = self.run_one(number, jobs[number], None if told else when)
            self.codes.setdefault(stage, []).append(code)
            again = self.state / f"{number}.requeue"
            if again.exists():
                assert "--requeue" in jobs[number]["options"] and len(self.codes[stage]) < 5
                again.unlink()
            else:
                ended.add(number)

    def run_one(self, number: str, job: dict, when: Callable[[], bool] | None) -> int:
        options = job["options"]
        more = dict(SLURM_JOB_ID=number, SLURM_CPUS_PER_TASK=options["--cpus-per-task"])
        output = Path(options["--chdir"]) / options["--output"].replace("%j", number)
        with open(output, "a") as log:
            process = subprocess.Popen(
                [self.state / f"{number}.sh", *job["arguments"]],
                cwd=options["--chdir"],
                env=job["environment"] | more,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            while when and process.poll() is None:
                if when():
                    process.send_signal(signal.SIGTERM)  # `--signal=B:TERM`: to the batch shell alone
                    break
                time.sleep(0.02)
            return process.wait(600)


if __name__ == "__main__":
    commands = dict(sbatch=sbatch, scontrol=scontrol, squeue=squeue)
    sys.exit(commands[sys.argv[1]](Path(sys.argv[2]), sys.argv[3:]))
