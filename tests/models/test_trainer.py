"What the trainer computes, keeps and measures: losses, gradients, checkpoints, precision"

from dataclasses import replace
from itertools import count

import pytest
import torch
from accelerate import data_loader
from safetensors.torch import load_file
from support.toys import TAUGHT

from dialsum.checks.dry_run import rehearse
from dialsum.data.dialogues import read
from dialsum.models.cards import card
from dialsum.models.loading import load
from dialsum.models.precision import Device, Precision, decide
from dialsum.models.prompts import Codec
from dialsum.models.replicas import replica
from dialsum.runs.places import sample_path
from dialsum.training import trainer as trainer_module
from dialsum.training.batches import POOL
from dialsum.training.fine_tuning import train
from dialsum.training.new_tokens import add_tokens
from dialsum.training.recipe import Recipe
from dialsum.training.trainer import make_trainer

FULL = [(name, "full") for name in TAUGHT]
ADAPTED = [(name, method) for name in TAUGHT if not card(name).seq2seq for method in ("lora", "qlora")]


@pytest.fixture(scope="module")
def rows():
    "Eight rows with short dialogues, whose summaries have different lengths"
    rows = read(sample_path() / "train.csv", summaries=True)
    rows["dialogue"] = [dialogue.split("\n")[0] for dialogue in rows["dialogue"]]
    lengths = rows["summaries"].map(lambda s: len(s[0]))
    few = rows.loc[lengths.sort_values().index[:: len(rows) // 8][:8]].reset_index(drop=True)
    assert len({len(s[0]) for s in few["summaries"]}) >= 7
    return few


def fresh(name, precision, new_tokens=""):
    loaded = load(card(name), str(replica(card(name))), **precision.loading())
    add_tokens(loaded, new_tokens, precision.method)
    return loaded


def trainer_of(loaded, precision, recipe, folder, train_rows, dev_rows):
    codec = Codec(loaded.card, loaded.tokenizer)
    return make_trainer(
        loaded,
        codec,
        train_rows,
        dev_rows,
        recipe,
        folder,
        precision,
        None,
        print,
        lambda **facts: None,
        None,
    )


# one update in parts


def one_update(name, rows, folder, parts, smoothing):
    "(loss, gradient norm, change of the weights, passes) of one update of plain gradient descent"
    precision = replace(Precision.for_this_machine(card(name), "replica", "full", "fp32"), optimizer="sgd")
    loaded = fresh(name, precision)
    for module in loaded.model.modules():
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    recipe = Recipe(
        epochs=1,
        batch_size=len(rows) // parts,
        gradient_accumulation_steps=parts,
        learning_rate=0.1,
        warmup_ratio=0.0,
        weight_decay=0.0,
        max_grad_norm=1e9,
        label_smoothing=smoothing,
        early_stopping_patience=0,
    )
    trainer = trainer_of(loaded, precision, recipe, folder, rows, rows.head(1))
    trainer.args.eval_strategy = trainer.args.save_strategy = "no"
    trainer.args.load_best_model_at_end = False
    passes = []
    loaded.model.register_forward_pre_hook(lambda model, args: passes.append(model.training))
    before = torch.cat([p.detach().flatten().clone() for p in loaded.model.parameters()])
    trainer.train()
    after = torch.cat([p.detach().flatten() for p in loaded.model.parameters()])
    [step] = [h for h in trainer.state.log_history if "grad_norm" in h]
    return step["loss"], step["grad_norm"], after - before, sum(passes)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", TAUGHT)
def test_an_update_is_the_same_in_one_part_or_in_many(name, smoothing, rows, tmp_path):
    loss, norm, change, _ = one_update(name, rows, tmp_path / "1", 1, smoothing)
    assert change.norm() > 0
    for parts in (2, 4, 8):
        again = one_update(name, rows, tmp_path / str(parts), parts, smoothing)
        assert again[0] == pytest.approx(loss, rel=1e-4) and again[1] == pytest.approx(norm, rel=1e-4), parts
        assert (again[2] - change).norm() <= 1e-3 * change.norm(), parts


@pytest.mark.parametrize("parts", [1, 8])
def test_rows_that_are_short_are_learned_in_fewer_passes(parts, rows, tmp_path, monkeypatch):
    one_is_long = rows.assign(dialogue=["가나다 " * 100, *["가나다"] * 7], summaries=[["가"]] * 8)
    with monkeypatch.context() as patched:
        patched.setattr(trainer_module, "PASS", 10**6)  # padding is cheaper than a pass
        loss, norm, change, passes = one_update("kobart", one_is_long, tmp_path / "all", 1, 0.0)
    assert passes == 1
    again = one_update("kobart", one_is_long, tmp_path / "few", parts, 0.0)
    assert again[3] == 2  # the long one, and all others
    assert again[0] == pytest.approx(loss, rel=1e-4) and again[1] == pytest.approx(norm, rel=1e-4)
    assert (again[2] - change).norm() <= 1e-3 * change.norm()


def test_no_row_is_made_ids_before_it_is_needed(rows, tmp_path):
    precision = Precision.for_this_machine(card("kobart"), "replica", "full", "fp32")
    many = rows.loc[[*range(len(rows))] * 200].reset_index(drop=True)
    trainer = trainer_of(fresh("kobart", precision), precision, Recipe(batch_size=2), tmp_path, many, rows)
    assert len(trainer.train_dataset.made) == 1  # which says what the training depends on
    next(iter(trainer.get_train_dataloader()))
    assert 1 < len(trainer.train_dataset.made) <= POOL * 2 + 1


# logits where there are labels


def learned_from(name, method, rows, folder, smoothing, checkpointing):
    "(loss, gradients of what is trained, numbers in the logits) of a batch in float32"
    precision = replace(
        Precision.for_this_machine(card(name), "replica", method, "fp32"),
        gradient_checkpointing=checkpointing,
    )
    loaded = fresh(name, precision)
    torch.manual_seed(0)
    trainer = trainer_of(
        loaded, precision, Recipe(method=method, label_smoothing=smoothing), folder, rows, rows.head(1)
    )
    model, seen = trainer.model.train(), []
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if "lora_B" in dict(module.named_children()):
            torch.nn.init.normal_(
                module.lora_B["default"].weight, std=0.1
            )  # else an adapter's first gradient is half zeros
    if checkpointing:
        model.gradient_checkpointing_enable()
    model.get_output_embeddings().register_forward_hook(lambda head, args, out: seen.append(out.numel()))
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(4)])
    loss = trainer.compute_loss(model, batch, num_items_in_batch=torch.tensor(50))
    loss.backward()
    return loss.item(), {n: p.grad for n, p in model.named_parameters() if p.requires_grad}, seen


@pytest.mark.parametrize(("smoothing", "checkpointing"), [(0.0, False), (0.1, True)])
@pytest.mark.parametrize(("name", "method"), [(n, m) for n, m in FULL + ADAPTED if not card(n).seq2seq])
def test_logits_at_labels_alone_teach_the_same(
    name, method, smoothing, checkpointing, rows, tmp_path, monkeypatch
):
    loss, gradients, seen = learned_from(name, method, rows, tmp_path / "picked", smoothing, checkpointing)
    monkeypatch.setattr("dialsum.training.trainer.label_places", lambda labels: None)
    whole, expected, all_seen = learned_from(name, method, rows, tmp_path / "whole", smoothing, checkpointing)
    assert 2 * sum(seen) < sum(all_seen)
    assert loss == pytest.approx(whole, rel=1e-5) and set(gradients) == set(expected)
    assert any(g.abs().max() > 0 for g in expected.values())
    for n, gradient in expected.items():
        assert (gradients[n] - gradient).norm() <= 1e-5 * max(gradient.norm(), 1e-3), n


# the dev loss


def test_the_dev_loss_is_the_mean_over_tokens_of_plain_cross_entropy(rows, tmp_path):
    for name in ("kobart", "qwen3-4b"):
        precision = Precision.for_this_machine(card(name), "replica", "full", "fp32")
        measured = {}
        for batch in (1, 3, 8):
            loaded = fresh(name, precision)
            recipe = Recipe(batch_size=batch, label_smoothing=0.2 if batch == 8 else 0.0)
            trainer = trainer_of(loaded, precision, recipe, tmp_path / f"{name}{batch}", rows, rows)
            measured[batch] = trainer.evaluate()["eval_loss"]
        total = labels = 0
        for row in trainer.eval_dataset:
            with torch.no_grad():
                loss = loaded.model(**{k: torch.tensor([v]) for k, v in row.items()}).loss.item()
            n = sum(label >= 0 for label in row["labels"])
            total, labels = total + n * loss, labels + n
        for value in measured.values():
            assert value == pytest.approx(total / labels, rel=1e-5), (name, measured)


# the best epoch, and going on


def floats(model):
    "Every weight by name but the rows of embeddings under an adapter that trains some of them: it holds those itself"
    state = model.state_dict().items()
    return {
        n: p.detach().clone()
        for n, p in state
        if p.is_floating_point() and "token_adapter.base_layer" not in n
    }


def differing(a, b):
    return [n for n in a if n not in b or a[n].dtype != b[n].dtype or not torch.equal(a[n], b[n])]


def falling(loaded, seen, start=1, stop=0):
    "Scores that fall from epoch to epoch; notes the weights that each is of, and ends the training at one of them"
    numbers = count(start)

    def write():
        n = next(numbers)
        seen[n] = floats(loaded.model)
        if n == stop:
            raise KeyboardInterrupt
        return dict(rouge_mean=10.0 - n)

    return write


def few_epochs(method, new_tokens=""):
    rate = 3e-3 if method == "full" else 1e-2
    return Recipe(
        method,
        epochs=2,
        batch_size=2,
        learning_rate=rate,
        warmup_ratio=0.0,
        early_stopping_patience=0,
        new_tokens=new_tokens,
    )


@pytest.mark.parametrize(("name", "method"), FULL + ADAPTED)
def test_what_is_kept_is_the_best_epoch_whole(name, method, rows, tmp_path):
    precision = Precision.for_this_machine(card(name), "replica", method)
    new_tokens = "#Person1#" if method != "full" else ""
    loaded, seen = fresh(name, precision, new_tokens), {}
    train(
        loaded,
        rows.head(4),
        rows.head(2),
        few_epochs(method, new_tokens),
        tmp_path,
        precision,
        falling(loaded, seen),
        say=lambda line: None,
        scale="replica",
    )
    assert differing(seen[1], seen[2])
    assert not differing(seen[1], floats(loaded.model))
    again = load(card(name), str(tmp_path / "model"), **precision.loading())
    assert not differing(seen[1], floats(again.model))


@pytest.mark.parametrize(
    ("name", "method"), [("polyglot-ko-12.8b", "full"), ("kobart", "full"), ("qwen3-4b", "qlora")]
)
def test_going_on_begins_with_all_weights_of_the_checkpoint(name, method, rows, tmp_path):
    precision, recipe = Precision.for_this_machine(card(name), "replica", method), few_epochs(method)

    def go(folder, start=1, stop=0):
        loaded, seen = fresh(name, precision), {}
        write = falling(loaded, seen, start, stop)
        facts = train(
            loaded,
            rows.head(4),
            rows.head(2),
            recipe,
            tmp_path / folder,
            precision,
            write,
            say=lambda line: None,
            scale="replica",
        )
        return facts, seen

    whole, at_once = go("whole")
    with pytest.raises(KeyboardInterrupt):
        go("torn", stop=2)
    resumed, later = go("torn", start=2)
    assert whole["curve"] == resumed["curve"] and not differing(at_once[2], later[2])


# devices


def test_a_second_gpu_that_is_only_visible_is_not_used(monkeypatch, rows, tmp_path):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    precision = Precision.for_this_machine(card("kobart"), "replica")
    loaded = fresh("kobart", precision)
    on_gpu = replace(precision, device="cuda")  # as the trainer sees it: it may look for GPUs
    trainer = trainer_of(loaded, on_gpu, Recipe(batch_size=2), tmp_path, rows, rows)
    assert trainer.args.n_gpu <= 1 and trainer.args.train_batch_size == trainer.args.eval_batch_size == 2
    assert trainer._wrap_model(trainer.model) is trainer.model


@pytest.mark.parametrize("processes", [1, 2])
def test_the_cpu_does_not_wait_for_the_copy_of_a_batch(processes, monkeypatch, rows, tmp_path):
    "Only a GPU shows it; here, what accelerate is told of each copy"
    copies = []

    def send(batch, device, **options):
        copies.append(options["non_blocking"])
        return batch

    monkeypatch.setattr(data_loader, "send_to_device", send)
    precision = Precision.for_this_machine(card("kobart"), "replica", "full", "fp32")
    trainer = trainer_of(fresh("kobart", precision), precision, Recipe(batch_size=2), tmp_path, rows, rows)
    monkeypatch.setattr(trainer_module, "process_count", lambda: processes)
    assert len(list(trainer.get_train_dataloader())) == len(copies) == 4 and all(copies)


# what is measured is what is used


@pytest.mark.parametrize(
    ("name", "method"),
    [("kobart", "full"), ("qwen3-4b", "lora"), ("qwen3-4b", "qlora"), ("polyglot-ko-12.8b", "qlora")],
)
def test_the_model_that_was_measured_is_the_one_that_is_loaded(name, method, rows, tmp_path):
    "Under bf16, whose arithmetic the training alone may use: same dtypes, same autocast, same logits"
    precision = decide(card(name), method, Device("cpu", True), "full", "bf16")
    loaded, probe, measured = fresh(name, precision), {}, []
    codec = Codec(card(name), loaded.tokenizer)
    ids = torch.tensor([codec.source(rows["dialogue"][0])])
    probe = dict(input_ids=ids) | (dict(decoder_input_ids=ids[:, :4]) if card(name).seq2seq else {})

    def logits(model):
        "As `generate` asks for them: of the transformers model, not of the adapter around it"
        inner = model.base_model.model if method != "full" else model
        with torch.inference_mode():
            return inner(**probe).logits

    def write():
        measured.append((floats(loaded.model), logits(loaded.model.eval())))
        return dict(rouge_mean=1.0 / len(measured))

    train(
        loaded,
        rows.head(4),
        rows.head(2),
        few_epochs(method),
        tmp_path,
        precision,
        write,
        say=lambda line: None,
        scale="replica",
    )
    again = load(card(name), str(tmp_path / "model"), **precision.loading())
    weights, scores = measured[0]
    assert not differing(weights, floats(again.model))
    for model in (again.model, loaded.model):
        assert logits(model).dtype == scores.dtype and torch.equal(logits(model), scores)


# the rehearsal


def stock(model, checkpoint, **options):
    "As transformers' trainer reads a checkpoint of a whole model: what has another name there stays as it is"
    model.load_state_dict(load_file(checkpoint / "model.safetensors"), strict=False)


def test_the_rehearsal_sees_a_head_that_has_another_name_on_the_disk(monkeypatch):
    monkeypatch.setattr("dialsum.training.trainer.restore", stock)
    [found] = rehearse(card("polyglot"), "replica", dict(method="full"))
    assert (
        "lm_head" in found.what
        and "the best epoch" in found.what
        and found.where == "rehearsal, the best epoch"
    )
    assert rehearse(card("qwen3-4b"), "replica", dict(method="full")) == []


def unseen_losses(monkeypatch, name, method):
    "What the rehearsal finds where the best epoch is never read back"
    monkeypatch.setattr("dialsum.training.trainer.restore", lambda model, checkpoint, **options: None)
    monkeypatch.setattr("transformers.Trainer._load_best_model", lambda trainer: None)
    return rehearse(card(name), "replica", dict(method=method))


@pytest.mark.parametrize(
    ("name", "method"), [("kobart", "full"), ("llama-3.2-korean-3b", "lora"), ("kullm-v2", "qlora")]
)
def test_the_rehearsal_sees_that_the_best_epoch_is_not_read_back(monkeypatch, name, method):
    [found] = unseen_losses(monkeypatch, name, method)
    assert found.where == "rehearsal, the best epoch" and found.severity == "error"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method"), FULL + ADAPTED)
def test_the_rehearsal_sees_it_for_every_card_and_method(monkeypatch, name, method):
    assert rehearse(card(name), "replica", dict(method=method)) == []
    [found] = unseen_losses(monkeypatch, name, method)
    assert found.where == "rehearsal, the best epoch"
