"What processes of a training are given in tests: replicas without dropout, and a judge that fails in one of them"

import atexit
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import distributed

from dialsum.data.dialogues import read
from dialsum.generation.choices import judge
from dialsum.generation.decoding import Decoding
from dialsum.generation.engines import Engine
from dialsum.models.cards import card
from dialsum.models.loading import load
from dialsum.models.precision import Precision
from dialsum.models.processes import Processes, join
from dialsum.models.ranks import rank
from dialsum.models.replicas import replica
from dialsum.runs.parameters import stage_parameters
from dialsum.runs.places import sample_path
from dialsum.training.fine_tuning import train
from dialsum.training.recipe import make_recipe
from dialsum.training.saves import save
from dialsum.training.sharding import shard

DROPOUTS = ("dropout", "attention_dropout", "activation_dropout", "hidden_dropout")


def still(name, folder) -> Path:
    "A replica that drops nothing: what is dropped, each process draws for itself"
    loaded = load(card(name), str(replica(card(name))))
    for option in DROPOUTS:
        if hasattr(loaded.model.config, option):
            setattr(loaded.model.config, option, 0.0)
    return save(loaded, Path(folder) / f"still_{name}")


def rows(split, count):
    return read(sample_path() / f"{split}.csv", summaries=True).head(count)


def trained(
    name,
    checkpoint,
    folder,
    processes,
    wrap=lambda write: write,
    fsdp=False,
    dev=3,
    num_beams=1,
    deepspeed=None,
    say=lambda line: None,
    **options,
):
    "What a training of some rows came to, and what the model writes then"
    loaded = load(card(name), str(checkpoint))
    count, dev = 9, rows("dev", dev)
    predictor = Engine("hf", 0, loaded, 2, 0, Decoding(max_new_tokens=8, num_beams=num_beams))
    r = make_recipe(card(name), "replica", dict(batch_size=4, epochs=2, max_target=64) | options)
    precision = Precision.for_this_machine(card(name), "replica", r.method, "fp32")
    write = wrap(judge(predictor, dev))
    happened = train(
        loaded,
        rows("train", count),
        dev,
        r,
        folder,
        precision,
        write,
        say,
        processes=processes,
        fsdp=fsdp,
        deepspeed=deepspeed,
    )
    return happened, predictor.predict_batch(list(dev["dialogue"]))


OF_STAGE = {
    "train": dict(epochs=2, batch_size=4),
    "evaluate": dict(eval_batch_size=2),
    "predict": dict(eval_batch_size=2),
    "tta": dict(eval_batch_size=2, tta_test=False),
}


def stage(folder, checkpoint, processes, name="train", dev=3, **more):
    "`dialsum stage` of a few rows, started"
    given = dict(
        model="kobart", scale="replica", checkpoint=checkpoint, precision="fp32", processes=processes
    )
    for split, count in (("train", 9), ("dev", dev), ("test", dev)):
        few = rows("dev" if split == "test" else split, count)
        few["summary"] = few["summaries"].str[0]
        few.drop(columns="summaries").to_csv(folder / f"{split}.csv", index=False)
        if f"{split}_csv" in stage_parameters(name):
            given[f"{split}_csv"] = folder / f"{split}.csv"
    given |= OF_STAGE[name] | more
    words = [word for option, value in given.items() for word in ("-p", option, str(value))]
    call = "import sys; from dialsum.cli import main; sys.exit(main())"
    run = folder / f"run{processes}"
    run.mkdir(exist_ok=True)
    command = [sys.executable, "-c", call, "stage", name, *words, "-p", "run", str(run)]
    return run, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def fact_of(run, name):
    return json.loads((run / "kobart" / f"{name}.json").read_text(encoding="utf-8"))


def fact_of_training(run):
    return fact_of(run, "train")


def ranks_that(work, task, folder):  # `work` is a function of a module
    "This process and another one, joined"
    group = Processes(work, task, 2, "cpu", "train", folder, lambda kind, error: None)
    group.start()
    return group


def leave_what_fails_at_the_end(task):  # a library may have left it there
    "Join the others; in the second process, what ends the interpreter fails"
    if not distributed.is_initialized():
        join()
        atexit.register(os.abort)


def count_own_weights(
    task,
):  # the weights of a model; what of them this process keeps when it is cut, into a file
    name, checkpoint, folder = task
    model = load(card(name), checkpoint).model
    whole = sum(weight.numel() for weight in model.parameters())
    if not distributed.is_initialized():
        join()
    shard(model, "cpu")
    own = sum(weight.to_local().numel() for weight in model.parameters())
    (folder / str(rank())).write_text(str(own))
    return whole


@dataclass
class Faulty:
    "A judge that does in the second process what ends it, when it has judged some times"

    judge: object
    fault: str  # 'raise', 'kill' or 'memory'
    left: int  # judgements until then
    of_rank: int = 1

    @property
    def about(self):
        return self.judge.about

    def __call__(self):
        self.left -= 1
        if self.left < 0 and rank() == self.of_rank:
            if self.fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fault == "memory":
                raise MemoryError("no memory left in one process")
            raise ZeroDivisionError("a fault of one process")
        return self.judge()

    def maker(self):
        return partial(_made_faulty, self.judge.maker(), self.fault, self.left, self.of_rank)


def _made_faulty(maker, fault, left, of_rank, loaded):
    return Faulty(maker(loaded), fault, left, of_rank)
