"""The steps of `.ci/gpu.py`, each called in a process of its own: `python .ci/gpu_steps.py STEP [--dry-run]`. A row is told as soon as it is measured."""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from dialsum.data.dialogues import read
from dialsum.generation.continuous import Continuous
from dialsum.generation.decoding import Decoding
from dialsum.generation.engines import Engine
from dialsum.models.cards import ModelCard, card
from dialsum.models.loading import LoadedModel, keep_unpacked, load, load_tokenizer
from dialsum.models.memory import WEIGHT_BYTES, gib, weight_bytes
from dialsum.models.out_of_memory import release_memory
from dialsum.models.precision import Precision
from dialsum.models.prompts import Codec
from dialsum.models.replicas import replica
from dialsum.models.simulation import as_fake, with_layers
from dialsum.models.training_step import TrainingStep, forward_backward, random_model, step_inputs
from dialsum.models.writing_memory import estimate_generation
from dialsum.runs.places import sample_path
from dialsum.training.fine_tuning import train
from dialsum.training.recipe import Recipe, memory_needed
from dialsum.training.saves import save
from dialsum.training.speedups import SPEEDUPS
from dialsum.training.trainer import make_trainer

ROOT = Path(__file__).resolve().parents[1]
# dense bfloat16 FLOP/s and bytes/s by a card's own name, from NVIDIA's data sheets ("H200 Tensor Core GPU", "H100 Tensor
# Core GPU", "A100 Tensor Core GPU"; the SXM columns)
DATA_SHEET = {
    "NVIDIA H200": (989e12, 4.8e12),
    "NVIDIA H100 80GB HBM3": (989e12, 3.35e12),
    "NVIDIA A100-SXM4-80GB": (312e12, 2.039e12),
}
UPDATES = 20  # of a training, in two epochs
GENERATIONS = 16  # dialogues at once
DISTINCT = 16  # rows that differ


@dataclass(frozen=True)
class Size:
    "How large everything is"

    scale: str  # 'full' or 'replica'
    length: int  # tokens of a source
    target: int  # tokens of a summary that are learned
    new_tokens: int  # written of a summary
    product: int  # rows and columns of a matrix
    copied: int  # bytes

    @property
    def dry(self) -> bool:
        return self.scale == "replica"


FULL = Size("full", length=512, target=128, new_tokens=64, product=8192, copied=4 * 2**30)
TOY = Size("replica", length=256, target=16, new_tokens=8, product=256, copied=2**24)


def tell(what: str, measured: str, aim: str = "", reached: bool | None = None) -> None:
    "A row of the table"
    print("ROW " + json.dumps(dict(what=what, measured=measured, aim=aim, reached=reached)), flush=True)


def tell_share(size: Size, what: str, share: float, aim: float) -> None:
    "A row about a share of what the card can do, which a toy says nothing about"
    reached = None if size.dry else share >= aim
    tell(what, f"{share:.1%}", f"at least {aim:.0%}", reached)


# the card


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds_of(act: Callable[[], object]) -> float:
    synchronize()
    started = time.perf_counter()
    act()
    synchronize()
    return time.perf_counter() - started


def measured_peaks(size: Size) -> tuple[float, float]:
    "FLOP/s of a product of matrices, bytes/s of a copy (read and written): the best of five"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    a = torch.randn(size.product, size.product, device=device).bfloat16()
    product = min(seconds_of(lambda: a @ a) for _ in range(5))
    source = torch.zeros(size.copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = min(seconds_of(lambda: target.copy_(source)) for _ in range(5))
    return 2 * size.product**3 / product, 2 * size.copied / copy


def peaks(size: Size) -> tuple[float, float]:
    "(FLOP/s, bytes/s) that shares are of: the data sheet's, or what is measured for a card that is not listed"
    name = torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
    return DATA_SHEET[name] if name in DATA_SHEET else measured_peaks(size)


def step_card(size: Size) -> None:
    gpu = torch.cuda.is_available()
    tell("card", torch.cuda.get_device_name(0) if gpu else "a CPU")
    if gpu:
        tell("memory", gib(torch.cuda.get_device_properties(0).total_memory))
    flops, moved = measured_peaks(size)
    tell("product of two matrices, bfloat16", f"{flops / 1e12:.3g} TFLOP/s")
    tell("copy, bytes read and written", f"{moved / 1e12:.3g} TB/s")
    flops, moved = peaks(size)
    tell("shares below are of", f"{flops / 1e12:.3g} TFLOP/s, {moved / 1e12:.3g} TB/s")
    versions = [f"{name} {version_of(name)}" for name in ("torch", "transformers", "peft", "bitsandbytes")]
    tell("versions", ", ".join(versions))
    lacking = unmet_requirements()
    tell("packages that are not as pyproject.toml wants them", ", ".join(lacking) or "none")
    tell_precision(size)


def tell_precision(size: Size) -> None:
    for name, method in (("kobart", "full"), ("qwen3-4b", "lora"), ("qwen3-4b", "qlora")):
        p = Precision.for_this_machine(card(name), size.scale, method)
        told = f"{p.quantization or p.weights} weights, {p.trainable} trained, {p.optimizer}: {p.reason}"
        tell(f"precision, {method}", told)


def version_of(name: str) -> str:  # '' for none
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def unmet_requirements() -> list[str]:
    import tomllib

    from packaging.requirements import Requirement

    unmet = []
    for text in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        wanted = Requirement(text)
        version = version_of(wanted.name)
        if not version or not wanted.specifier.contains(version, prereleases=True):
            unmet.append(f"{wanted} ({version or 'missing'})")
    return unmet


# models with random weights


def sized_card(name: str, size: Size) -> ModelCard:
    "A card; in a dry run with its replica's numbers"
    c = card(name)
    if not size.dry:
        return c
    numbers = json.loads((replica(c) / "config.json").read_text())
    return replace(c, config={key: numbers.get(key, value) for key, value in c.config.items()})


def made(c: ModelCard, precision: Precision) -> LoadedModel:
    "A model of a card's size with random weights, made where it computes; its replica's tokenizer is large enough"
    torch.manual_seed(0)
    method = "qlora" if precision.quantization else "full"
    step = TrainingStep(method=method, weights=precision.weights)
    with torch.device(precision.device):  # where quantized layers begin, too
        model: Any = random_model(c, step, precision.device)
    keep_unpacked(model)
    folder = str(replica(card(c.name)))
    return LoadedModel(c, model.eval(), load_tokenizer(c, folder), folder)


def saved(c: ModelCard, precision: Precision, folder: Path) -> str:
    "A checkpoint with random weights"
    return str(save(made(c, precision), folder))


def long_rows(codec: Codec, size: Size, count: int) -> pd.DataFrame:
    "Rows of one length: as many tokens as a recipe reads and learns, to a few"
    sample = read(sample_path() / "train.csv", summaries=True)
    turns = "\n".join(sample["dialogue"]).split("\n")
    summary = " ".join(texts[0] for texts in sample["summaries"])
    texts = [filled(turns[20 * i :], lambda text: codec.length(text) <= size.length) for i in range(DISTINCT)]
    learned = [summary[50 * i :][: 8 * size.target] for i in range(DISTINCT)]  # cut where they are learned
    rows = []
    for i in range(count):
        rows.append(dict(fname=f"row_{i}", dialogue=texts[i % DISTINCT], summaries=[learned[i % DISTINCT]]))
    return pd.DataFrame(rows)


def filled(turns: list[str], fits: Callable[[str], bool]) -> str:
    "As many turns as fit, and as much of the next one"
    count = next(n for n in range(1, len(turns)) if not fits("\n".join(turns[:n])))
    text = "\n".join(turns[:count])
    while not fits(text):
        text = text[:-1]
    return text


# training


def flops_of_row(c: ModelCard, step: TrainingStep) -> float:
    "FLOP of the linear layers and the head for one row, forward and backward, counted by torch on tensors without data"
    if c.seq2seq:
        return _counted(c, step)
    layers = c.config["num_hidden_layers"]
    one, two = (_counted(replace(c, config=with_layers(c.config, n)), step) for n in (1, 2))
    return one + (layers - 1) * (two - one)


def _counted(c: ModelCard, step: TrainingStep) -> float:
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    model = random_model(c, step, "cuda", fake=True)
    with FakeTensorMode():
        model, inputs = as_fake(model), step_inputs(c, step)
        with FlopCounterMode(display=False) as counter:
            forward_backward(model, inputs, step.amp)
    return counter.get_total_flops()


class Clock:
    "When each update's loss was logged"

    def __init__(self) -> None:
        self.moments: list[tuple[int, float]] = []

    def track(self, step: int, values: dict[str, Any]) -> None:
        if "loss" in values:
            self.moments.append((step, time.perf_counter()))

    def seconds(self) -> float:
        "Median of an update, but for the first of an epoch, which come after other work, and the three after the start"
        durations = []
        for (before, began), (_, ended) in zip(self.moments, self.moments[1:]):
            if before > 3 and before != UPDATES // 2:
                durations.append(ended - began)
        return float(pd.Series(durations).median())


def recipe_for(c: ModelCard, method: str, batch: int, size: Size) -> Recipe:
    return Recipe(
        method=method,
        epochs=2,
        batch_size=batch,
        learning_rate=1e-4,
        early_stopping_patience=0,
        max_source=size.length,
        max_target=size.target,
    )


def codec_of(loaded: LoadedModel, size: Size) -> Codec:
    return Codec(loaded.card, loaded.tokenizer, size.length)


def trained(
    loaded: LoadedModel, r: Recipe, precision: Precision, folder: Path, size: Size, **options: Any
) -> dict[str, Any]:
    "What `train` says of a training of `UPDATES` updates"
    rows = long_rows(codec_of(loaded, size), size, r.batch_size * UPDATES // 2)
    return train(loaded, rows, rows.head(2), r, folder, precision, say=note, **options)


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def step_training(
    size: Size, name: str, method: str, batch: int, compiled: bool = False, aim: float = 0.3
) -> None:
    "Train, and write with what was trained"
    c = sized_card(name, size)
    precision = Precision.for_this_machine(c, size.scale, method)
    r = recipe_for(c, method, 2 if size.dry else batch, size)
    loaded = made(c, precision)
    if compiled:
        compile_layers(loaded.model, size)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        forget_peak()
        facts = trained(loaded, r, precision, Path(folder), size, track=clock.track)
    length = size.length if c.seq2seq else size.length + size.target
    tell("rows", f"{r.batch_size} of {size.length} tokens read and {size.target} learned an update")
    seconds = clock.seconds()
    tell("training, samples/s", f"{r.batch_size / seconds:.3g}")
    tell("training, tokens/s", f"{r.batch_size * (size.length + size.target) / seconds:,.0f}")
    step = TrainingStep(1, length, size.target, method=method, weights=precision.weights, amp=precision.amp)
    share = r.batch_size * flops_of_row(c, step) / seconds / peaks(size)[0]
    tell_share(size, "training, FLOP of the peak (MFU)", share, aim)
    tell_memory(size, facts["peak_memory"], replace(memory_needed(c, r, precision), overhead=0).total)
    tell_dtypes(loaded, precision)
    tell("dev loss before and after", f"{facts['dev_loss_before']:.3f}, {facts['best']['loss']:.3f}")
    if compiled:
        return
    release_memory()
    tell_writing(size, loaded, precision, Decoding(), aim=0.2)


def step_speedups(size: Size, name: str) -> None:
    "Each speedup alone, all together and none: whether it comes to the same, and how fast it trains"
    c = sized_card(name, size)
    precision = Precision.for_this_machine(c, size.scale, "lora")
    r = recipe_for(c, "lora", 2 if size.dry else 8, size)
    loaded = made(c, precision)
    rows = long_rows(codec_of(loaded, size), size, r.batch_size * UPDATES // 2)
    quarters = [len(text) * (i % 4 + 1) // 4 for i, text in enumerate(rows["dialogue"])]
    rows["dialogue"] = [text[:length] for text, length in zip(rows["dialogue"], quarters)]
    usual = 0.0
    for speedups in ("", *SPEEDUPS, ",".join(SPEEDUPS)):
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            facts = train(
                loaded,
                rows,
                rows.head(2),
                r,
                Path(folder),
                precision,
                say=note,
                track=clock.track,
                speedups=speedups,
            )
        seconds = clock.seconds()
        usual = usual or seconds
        tell_speedups(size, speedups, facts["speedups"], r.batch_size / seconds, usual / seconds)


def tell_speedups(size: Size, names: str, records: list[dict[str, Any]], speed: float, times: float) -> None:
    "Samples/s of a training, against one without a speedup, and what became of each"
    tell(f"training by {names or 'no speedup'}, samples/s", f"{speed:.3g}, {times:.2f} times")
    for record in records:
        reached = None if size.dry else record["active"]
        if record["gradient_deviation"] is None:
            tell(f"{record['name']} of {names}", f"off: {record['code']}", "in use", reached)
            continue
        ratio = record["reference_seconds"] / record["seconds"]
        told = f"a gradient is off by {record['gradient_deviation']:.1g}, an update {ratio:.2f} times as fast"
        tell(f"{record['name']} of {names}", told, f"at most {record['gradient_tolerance']:.1g}", reached)


def tell_memory(size: Size, measured: float, estimate: int) -> None:
    "Measured: GiB; the estimate (bytes) without its allowance for the framework"
    ratio = measured * 2**30 / estimate
    reached = None if size.dry else abs(ratio - 1) <= 0.15
    measured_of = f"{measured:.2f} GiB, {ratio:.2f} times the estimate of {gib(estimate)}"
    tell("training, peak memory", measured_of, "0.85 to 1.15 times", reached)


def tell_dtypes(loaded: LoadedModel, precision: Precision) -> None:
    "Of what is trained, and of what is not"
    kinds: dict[bool, set[str]] = {True: set(), False: set()}
    for parameter in loaded.model.parameters():
        kinds[parameter.requires_grad].add(str(parameter.dtype).removeprefix("torch."))
    frozen = ", ".join(sorted(kinds[False])) or "nothing"
    reached = kinds[True] == {precision.trainable}
    tell("trained in, beside", f"{', '.join(kinds[True])}, {frozen}", precision.trainable, reached)


def forget_peak() -> None:
    release_memory()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def compile_layers(model: Any, size: Size) -> None:
    "Each layer by torch.compile, when it is first called; one code serves all"
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList):
            for layer in module:
                layer.compile(backend="aot_eager" if size.dry else "inductor")


# writing


def tell_writing(
    size: Size, loaded: LoadedModel, precision: Precision, decoding: Decoding, aim: float
) -> None:
    "Write so many tokens of each dialogue, and the first alone: what is between is one token after the other"
    texts = list(long_rows(codec_of(loaded, size), size, GENERATIONS)["dialogue"])
    predictor = Engine("hf", 0, loaded, GENERATIONS, size.length, decoding)

    def write(tokens: int) -> float:
        return seconds_of(
            lambda: predictor.predict_batch(texts, max_new_tokens=tokens, min_new_tokens=tokens)
        )

    tell("writing, the first time", f"{write(size.new_tokens):.1f} s")  # compiles, and finds its kernels
    whole, first = write(size.new_tokens), write(1)
    tell("writing, tokens/s", f"{GENERATIONS * size.new_tokens / whole:,.0f}")
    moved = bytes_of_token(loaded, precision, size) * (size.new_tokens - 1)
    share = moved / max(whole - first, 1e-9) / peaks(size)[1]
    tell_share(size, "writing, bytes of the bandwidth", share, aim)


def bytes_of_token(loaded: LoadedModel, precision: Precision, size: Size) -> float:
    "What has to be read for each token of all dialogues: the weights once, and the keys and values"
    c, quantized = loaded.card, bool(precision.quantization)
    cache = estimate_generation(
        c, GENERATIONS, size.length, size.new_tokens, weights=precision.weights, quantized=quantized
    ).kv_cache
    if c.seq2seq:  # the decoder, and the table that is its head
        model: Any = loaded.model
        return cache + sum(p.nbytes for p in model.get_decoder().parameters())
    table = 0
    if not c.config["tie_word_embeddings"]:  # of which a row is read
        table = c.config["vocab_size"] * c.config["hidden_size"] * WEIGHT_BYTES[precision.weights]
    return cache + weight_bytes(c, precision.weights, quantized) - table


def step_static_cache(size: Size, name: str) -> None:
    c = sized_card(name, size)
    precision = Precision.for_this_machine(c, size.scale)
    loaded = made(c, precision)
    tell_writing(size, loaded, precision, Decoding(more=(("cache_implementation", "static"),)), aim=0.6)


def step_continuous(size: Size, name: str) -> None:
    "Four times as many dialogues as are written at once, by continuous batching and in groups"
    c = sized_card(name, size)
    loaded = made(c, Precision.for_this_machine(c, size.scale))
    texts = list(long_rows(codec_of(loaded, size), size, 4 * GENERATIONS)["dialogue"])
    options = (GENERATIONS, size.length, Decoding(max_new_tokens=size.new_tokens))
    summaries, speeds = [], []
    for writer in (Continuous("continuous", 0, loaded, *options), Engine("hf", 0, loaded, *options)):
        summaries.append(writer.predict_batch(texts))  # finds its kernels
        speeds.append(len(texts) / seconds_of(lambda writer=writer: writer.predict_batch(texts)))
    equal = sum(a == b for a, b in zip(*summaries))
    tell("continuous batching, dialogues/s", f"{speeds[0]:.3g}")
    tell("groups of like length, dialogues/s", f"{speeds[1]:.3g}")
    tell("the same texts", f"{equal / len(texts):.0%}")


# what holds, whatever the size


def step_tests(size: Size) -> None:
    command = [sys.executable, "-m", "pytest", "tests/gpu", "-m", "gpu", "-p", "no:cacheprovider"]
    environment = os.environ | (dict(DIALSUM_GPU_DRY_RUN="1") if size.dry else {})
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines() or ["no output"]
    for line in lines:
        note(line)
        if line.startswith("FAILED"):
            tell("test", line.removeprefix("FAILED "), "passes", False)
    tell("tests marked gpu", lines[-1].strip("= "), "all pass", done.returncode == 0)


def step_out_of_memory(size: Size) -> None:
    "Room for 24 rows at once where 64 are asked for"
    c = sized_card("kobart", size)
    precision = Precision.for_this_machine(c, size.scale)
    r = recipe_for(c, "full", 4 if size.dry else 64, size)
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = saved(c, precision, Path(folder) / "start")
        loaded = load(c, checkpoint, **precision.loading())
        if size.dry:
            refuse = Refusal()
        else:
            room = memory_needed(c, replace(r, batch_size=24), precision).total
            whole = torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction(room / whole)
        rows = long_rows(codec_of(loaded, size), size, 2 * r.batch_size)
        facts = train(
            loaded,
            rows,
            rows.head(2),
            r,
            Path(folder) / "trained",
            precision,
            say=lines.append,
            track=refuse if size.dry else lambda step, values: None,
        )
    chosen = facts["recipe"]
    batches = f"{chosen['batch_size']} × {chosen['gradient_accumulation_steps']}"
    retries = sum(line.startswith("out of memory") for line in lines)
    same = chosen["batch_size"] * chosen["gradient_accumulation_steps"] == r.batch_size
    told = f"{r.batch_size} rows at once, then {batches} after {retries} of these errors"
    tell("out of memory", told, "as many an update", same and retries > 0)


class Refusal:
    "Stands for a card that is full, once"

    def __init__(self) -> None:
        self.full = True

    def __call__(self, step: int, values: dict[str, Any]) -> None:
        if self.full and step:
            self.full = False
            raise torch.OutOfMemoryError("out of memory, in a dry run")


def step_best_epoch(size: Size) -> None:
    "Of two epochs the first is said to be better: what is saved has its dev loss"
    c = sized_card("kobart", size)
    precision = Precision.for_this_machine(c, size.scale)
    r = recipe_for(c, "full", 2 if size.dry else 16, size)
    scores = iter([2.0, 1.0])
    with tempfile.TemporaryDirectory() as folder:
        loaded = made(c, precision)
        facts = trained(loaded, r, precision, Path(folder), size, write=lambda: dict(rouge_mean=next(scores)))
        again = load(c, str(Path(folder) / "model"), **precision.loading())
        weights = dict(loaded.model.named_parameters())
        equal = all(torch.equal(weight, weights[name]) for name, weight in again.model.named_parameters())
        loss = dev_loss(again, r, precision, Path(folder) / "again", size)
    first, second = (entry["loss"] for entry in facts["evaluations"])
    told = f"dev loss {first:.4f}, {second:.4f}; of what was saved {loss:.4f}"
    reached = equal and abs(loss - first) < abs(loss - second)
    tell("best epoch, saved and loaded again", told, "the first", reached)


def dev_loss(loaded: LoadedModel, r: Recipe, precision: Precision, folder: Path, size: Size) -> float:
    codec = codec_of(loaded, size)
    rows = long_rows(codec, size, r.batch_size * UPDATES // 2)
    trainer = make_trainer(
        loaded,
        codec,
        rows,
        rows.head(2),
        r,
        folder,
        precision,
        write=None,
        say=note,
        beat=lambda **facts: None,
        first=None,
    )
    return trainer.evaluate()["eval_loss"]


def step_two_stages(size: Size) -> None:
    "Train, then write with what was saved; twice in one process"
    held = [held_bytes()]
    for _ in range(2):
        train_and_write(size)
        release_memory()
        held.append(held_bytes())
    start, once, twice = held
    sizes = [f"{size / 2**20:,.1f} MiB" for size in (start, once, twice)]
    told = f"{sizes[0]} at the start, {sizes[1]} after the first time, {sizes[2]} after the second"
    # libraries keep some room for their kernels
    reached = twice - once <= 2**20 and once - start <= 256 * 2**20
    tell("held by tensors", told, "no more after the second", reached)


def train_and_write(size: Size) -> None:
    c = sized_card("kobart", size)
    precision = Precision.for_this_machine(c, size.scale)
    r = recipe_for(c, "full", 2 if size.dry else 16, size)
    with tempfile.TemporaryDirectory() as folder:
        trained(made(c, precision), r, precision, Path(folder), size)
        loaded = load(c, str(Path(folder) / "model"), **precision.loading())
        texts = list(long_rows(codec_of(loaded, size), size, 2)["dialogue"])
        Engine("hf", 0, loaded, 2, size.length).predict_batch(texts, max_new_tokens=4)


def held_bytes() -> int:
    "In tensors; on a CPU counted one by one"
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated()
    storages = {}
    for thing in gc.get_objects():
        if type(thing) in (torch.Tensor, torch.nn.Parameter) and thing.device.type == "cpu":
            storages[thing.data_ptr()] = thing.nbytes
    return sum(storages.values())


CALLS: dict[str, Callable[[Size], None]] = {
    "card": step_card,
    "qwen3-4b-lora": lambda size: step_training(size, "qwen3-4b", "lora", 8),
    "tests": step_tests,
    "kobart-full": lambda size: step_training(size, "kobart", "full", 32),
    "polyglot-qlora": lambda size: step_training(size, "polyglot-ko-12.8b", "qlora", 8),
    "qwen3-4b-qlora": lambda size: step_training(size, "qwen3-4b", "qlora", 8),
    "out-of-memory": step_out_of_memory,
    "best-epoch": step_best_epoch,
    "two-stages": step_two_stages,
    "qwen3-4b-static-cache": lambda size: step_static_cache(size, "qwen3-4b"),
    "qwen3-4b-continuous": lambda size: step_continuous(size, "qwen3-4b"),
    "qwen3-4b-compiled": lambda size: step_training(size, "qwen3-4b", "lora", 8, compiled=True, aim=0.45),
    "qwen3-4b-speedups": lambda size: step_speedups(size, "qwen3-4b"),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="One step of gpu.py")
    parser.add_argument("step", choices=list(CALLS))
    parser.add_argument("--dry-run", action="store_true")
    arguments = parser.parse_args()
    CALLS[arguments.step](TOY if arguments.dry_run else FULL)
