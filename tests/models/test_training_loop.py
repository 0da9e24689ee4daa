"The course of a training: its updates, the epoch that is kept, an adapter that is gone on with, what is refused"

import math
from dataclasses import replace

import pytest
import torch
from support.toys import Killed, scores

from dialsum.data.dialogues import read
from dialsum.models.cards import card
from dialsum.models.loading import load
from dialsum.models.precision import Precision
from dialsum.models.replicas import replica
from dialsum.runs.errors import DialsumError
from dialsum.runs.places import sample_path
from dialsum.training.fine_tuning import train
from dialsum.training.recipe import Recipe, adapter_options


def rows(count):
    return read(sample_path() / "train.csv", summaries=True).head(count)


def toy(name, checkpoint=None):
    return load(card(name), str(checkpoint or replica(card(name))))


def trained(loaded, learned, r, folder, write=None, **more):
    precision = Precision.for_this_machine(loaded.card, "replica", r.method)
    return train(loaded, learned, rows(2), r, folder, precision, write, say=lambda line: None, **more)


def weights(loaded):
    return {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}


def changed(before, after):
    return [name for name in before if not torch.equal(before[name], after[name])]


@pytest.mark.parametrize(
    ("batch", "accumulation", "epochs", "count"), [(8, 1, 1, 8), (4, 2, 1, 9), (2, 3, 2, 13)]
)
def test_the_number_of_updates_is_what_the_trainer_takes(batch, accumulation, epochs, count, tmp_path):
    from dialsum.training.recipe import updates

    r = Recipe(batch_size=batch, gradient_accumulation_steps=accumulation, epochs=epochs, learning_rate=1e-3)
    assert trained(toy("kobart"), rows(count), r, tmp_path)["steps"] == updates(r, count)


def test_a_training_of_one_update_changes_the_model(tmp_path):
    happened = trained(toy("kobart"), rows(8), Recipe(batch_size=8, epochs=1, learning_rate=1e-3), tmp_path)
    assert happened["steps"] == 1 and happened["curve"][0]["learning_rate"] == 1e-3
    assert happened["best"]["loss"] != happened["dev_loss_before"]


def test_a_continued_adapter_changes_in_one_update(tmp_path):
    r = Recipe(method="lora", batch_size=8, epochs=1, learning_rate=1e-2)
    trained(toy("qwen3-4b"), rows(8), r, tmp_path / "first")
    before = weights(toy("qwen3-4b", tmp_path / "first" / "model"))
    trained(toy("qwen3-4b", tmp_path / "first" / "model"), rows(8), r, tmp_path / "second")
    after = changed(before, weights(toy("qwen3-4b", tmp_path / "second" / "model")))
    assert after and all("lora_" in name for name in after)


@pytest.fixture
def losses(monkeypatch):
    "Dev losses that are told, not measured: of the evaluation before the first update 9, then one an epoch"
    from transformers import Seq2SeqTrainer
    from transformers.trainer_utils import EvalLoopOutput

    def measure(values):
        left = iter([9.0, *values])

        def loop(
            self,
            dataloader,
            description,
            prediction_loss_only=None,
            ignore_keys=None,
            metric_key_prefix="eval",
        ):
            return EvalLoopOutput(None, None, {f"{metric_key_prefix}_loss": next(left)}, 2)

        monkeypatch.setattr(Seq2SeqTrainer, "evaluation_loop", loop)

    return measure


FAST = Recipe(epochs=4, batch_size=8, learning_rate=1e-3, early_stopping_patience=0)


@pytest.mark.parametrize(
    ("rouge", "loss", "best"),
    [
        ([5, 5, 5, 4], [8.0, 7.0, 7.5, 6.0], 2),  # of equal ROUGE the lower loss
        ([5, 5, 5, 5], [8.0, 8.0, 8.0, 8.0], 1),  # of equal loss the first
        ([5, 6, 6, 5], [8.0, 7.0, 7.1, 6.0], 2),
        ([0, 0, 0, 0], [8.0, 7.0, 6.0, 5.0], 4),
    ],
)
def test_ties_go_to_the_lower_dev_loss(rouge, loss, best, losses, tmp_path):
    losses(loss)
    happened = trained(toy("kobart"), rows(8), FAST, tmp_path, scores(*rouge))
    assert happened["best"]["epoch"] == best


def test_a_tie_with_falling_loss_is_no_reason_to_stop(losses, tmp_path):
    losses([8.0, 7.0, 6.0, 6.5])
    patient = replace(FAST, early_stopping_patience=1)
    happened = trained(toy("kobart"), rows(8), patient, tmp_path, scores(0, 0, 0, 0))
    assert [e["epoch"] for e in happened["evaluations"]] == [1, 2, 3, 4] and happened["best"]["epoch"] == 3


def test_a_tie_without_falling_loss_is(losses, tmp_path):
    losses([8.0, 8.0])
    patient = replace(FAST, early_stopping_patience=1)
    happened = trained(toy("kobart"), rows(8), patient, tmp_path, scores(0, 0))
    assert len(happened["evaluations"]) == 2 and happened["best"]["epoch"] == 1


def test_a_training_that_stopped_early_does_not_go_on_after_a_kill(monkeypatch, tmp_path):
    "It was killed while its model was saved: the next attempt saves the same one, and trains nothing"

    patient = replace(FAST, early_stopping_patience=1)
    whole = trained(toy("kobart"), rows(8), patient, tmp_path / "whole", scores(2, 1))

    def killed(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as m:
        m.setattr("dialsum.training.fine_tuning.save", killed)
        with pytest.raises(Killed):
            trained(toy("kobart"), rows(8), patient, tmp_path / "torn", scores(2, 1))
    again = trained(toy("kobart"), rows(8), patient, tmp_path / "torn", scores())
    assert again["steps"] == whole["steps"] == 2 and again["evaluations"] == whole["evaluations"]
    one, other = (weights(toy("kobart", tmp_path / name / "model")) for name in ("whole", "torn"))
    assert not changed(one, other)


class Poison:
    "What a training is told of its steps, which breaks the weights after one of them"

    def __init__(self, loaded, step):
        self.loaded, self.step, self.count = loaded, step, 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def renew(self):
        pass

    def done(self):
        self.count += 1
        if self.count != self.step:
            return
        with torch.no_grad():
            self.loaded.model.get_input_embeddings().weight.fill_(math.nan)


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        (1, "the loss became nan .* at step 2"),
        (3, "the loss became nan .* at step 4"),
        (4, "the dev loss became nan at step 4"),
        (6, "the dev loss became nan at step 6"),
    ],
)
def test_a_training_that_diverges_does_not_end_well(step, sentence, tmp_path):
    loaded = toy("kobart")  # of whose six updates every second ends an epoch
    r = replace(FAST, epochs=3, batch_size=4)
    with pytest.raises(DialsumError, match=f"^{sentence}: lower --learning-rate"):
        trained(loaded, rows(8), r, tmp_path, scores(1, 2, 3), first=Poison(loaded, step))
    assert not (tmp_path / "model").exists()


def test_a_checkpoint_of_no_numbers_is_told_before_training(tmp_path):
    loaded = toy("kobart")
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight.fill_(math.nan)
    sentence = "^the dev loss is nan before the first update.* fetch the checkpoint again"
    with pytest.raises(DialsumError, match=sentence):
        trained(loaded, rows(8), FAST, tmp_path)


def test_a_score_that_is_no_number_is_refused(tmp_path):
    with pytest.raises(DialsumError, match="^the rouge_mean became nan at step 1"):
        trained(toy("kobart"), rows(8), FAST, tmp_path, scores(math.nan))


ADAPTER = Recipe(
    method="lora",
    epochs=1,
    batch_size=8,
    learning_rate=1e-2,
    lora_r=4,
    lora_alpha=12,
    lora_dropout=0.2,
    lora_targets="q_proj, v_proj",
)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    "The folder of one that is like no other in rank, scale, dropout and layers; and what its training told"
    folder = tmp_path_factory.mktemp("adapter")
    return folder / "model", trained(toy("qwen3-4b"), rows(8), ADAPTER, folder)


def in_force(loaded):
    "What PEFT has on the layers, whatever its configuration says"
    named = {name: layer for name, layer in loaded.model.named_modules() if hasattr(layer, "lora_A")}
    layers = named.values()
    shares = {getattr(layer.lora_dropout["default"], "p", 0.0) for layer in layers}
    names = {name.rsplit(".", 1)[-1] for name in named}
    return [
        {layer.r["default"] for layer in layers},
        {layer.scaling["default"] for layer in layers},
        shares,
        names,
    ]


def errors(findings):
    return [f for f in findings if f.severity == "error"]


def lora(happened):
    return {name: value for name, value in happened["recipe"].items() if name.startswith("lora_")}


def test_a_new_adapter_is_what_was_asked_for(adapter):
    folder, happened = adapter
    assert in_force(toy("qwen3-4b", folder)) == [{4}, {3.0}, {0.2}, {"q_proj", "v_proj"}]
    assert lora(happened) == dict(lora_r=4, lora_alpha=12, lora_dropout=0.2, lora_targets="q_proj, v_proj")


def test_an_adapter_is_gone_on_with_as_it_is(adapter, tmp_path):
    loaded = toy("qwen3-4b", adapter[0])
    happened = trained(loaded, rows(8), Recipe(method="lora", epochs=1, batch_size=8), tmp_path)
    assert in_force(loaded) == [{4}, {3.0}, {0.2}, {"q_proj", "v_proj"}]
    assert lora(happened) == dict(lora_r=4, lora_alpha=12, lora_dropout=0.2, lora_targets="q_proj,v_proj")


def test_dropout_belongs_to_the_training(adapter, tmp_path):
    loaded = toy("qwen3-4b", adapter[0])
    r = Recipe(method="lora", epochs=1, batch_size=8, lora_dropout=0.0)
    happened = trained(loaded, rows(8), r, tmp_path)
    assert in_force(loaded)[2] == {0.0} == {happened["recipe"]["lora_dropout"]}
    assert in_force(toy("qwen3-4b", tmp_path / "model"))[2] == {0.0}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (dict(lora_r=8), "has rank 4, lora_r is 8"),
        (dict(lora_alpha=32), "has alpha 12, lora_alpha is 32"),
        (dict(lora_targets="k_proj"), "lies on q_proj,v_proj, lora_targets is k_proj"),
    ],
)
def test_another_adapter_than_the_one_to_start_from_is_refused(given, words, adapter, tmp_path):
    from support.experiments import is_korean

    from dialsum.checks.preflight import check_model

    with pytest.raises(DialsumError, match=f"{words}: .*leave it out, or start from its base checkpoint"):
        trained(toy("qwen3-4b", adapter[0]), rows(8), Recipe(method="lora", **given), tmp_path)
    [told] = errors(check_model(card("qwen3-4b"), "replica", given, str(adapter[0])))
    assert words in told.what and is_korean(told, "what", "remedy")


def test_what_an_adapter_has_may_be_given_and_is_planned_with(adapter):
    from dialsum.checks.preflight import check_model
    from dialsum.training.recipe import make_recipe

    given = dict(lora_r=4, lora_alpha=12, lora_targets="v_proj,q_proj", lora_dropout=0.0)
    assert not errors(check_model(card("qwen3-4b"), "replica", given, str(adapter[0])))
    planned = make_recipe(card("qwen3-4b"), "replica", dict(checkpoint=str(adapter[0])))
    assert (planned.lora_r, planned.lora_alpha, planned.lora_targets) == (4, 12, "q_proj,v_proj")
    unset = dict(checkpoint="", lora_r=0, lora_alpha=0, lora_dropout=-1.0, lora_targets="")
    plain = make_recipe(card("qwen3-4b"), "replica", unset)
    assert (plain.lora_r, plain.lora_alpha, plain.lora_dropout) == (16, 32, 0.05) and plain.lora_targets == ""


def test_a_card_may_have_its_own_kind_of_new_adapter(adapter):
    from dialsum.training.recipe import make_recipe

    c = replace(card("qwen3-4b"), training=dict(epochs=7, lora_dropout=0.0))
    assert (make_recipe(c, "full", {}).epochs, make_recipe(c, "full", {}).lora_dropout) == (7, 0.0)
    assert make_recipe(c, "full", dict(lora_dropout=0.3)).lora_dropout == 0.3
    assert (
        make_recipe(c, "full", dict(checkpoint=str(adapter[0]))).lora_dropout
        == adapter_options(str(adapter[0]))["lora_dropout"]
        != 0.0
    )
    assert "lora_dropout" not in make_recipe(c, "full", dict(method="full")).facts


@pytest.mark.parametrize(
    ("name", "value"), [("lora_r", 8), ("lora_alpha", 16), ("lora_dropout", 0.1), ("lora_targets", "q_proj")]
)
def test_full_training_refuses_the_options_of_adapters(name, value, typed):
    from support.experiments import is_korean

    from dialsum.checks.options import check_options
    from dialsum.training.recipe import make_recipe

    [told] = check_options(card("kobart"), "replica", {name: value})
    assert told.message("ko").what.startswith("전체 학습에는") and is_korean(told, "remedy")
    for model, method in (("kobart", ""), ("qwen3-4b", "full")):
        with pytest.raises(DialsumError, match=f"^{name} is {value}, and full training has no adapter"):
            make_recipe(card(model), "replica", {"method": method, name: value})
    option = "--" + name.replace("_", "-")
    done = typed("run", "--models", "kobart", "--scale", "replica", option, value)
    assert done.returncode != 0 and f"{option} is {value}, and full training has no adapter" in done.stderr


def test_beside_a_model_with_an_adapter_one_without_ignores_its_options(tmp_path):
    from dialsum.checks.preflight import preflight
    from dialsum.pipeline.plan import plan_stages

    given = dict(scale="replica", lora_r=8)
    trainings = [s for s in plan_stages(tmp_path, ["kobart", "qwen3-4b"], given) if s.stage == "train"]
    asked = {s.model: s.params.get("lora_r") for s in trainings}
    assert asked == {"kobart": None, "qwen3-4b": 8}
    assert preflight(["kobart", "qwen3-4b"], "replica", given, runs=tmp_path).ok()
    assert not preflight(["kobart"], "replica", given, runs=tmp_path).ok()


def test_facts_of_full_training_tell_of_no_adapter(tmp_path):
    assert lora(trained(toy("kobart"), rows(8), replace(FAST, epochs=1), tmp_path)) == {}


def test_a_weight_that_no_loss_shows_is_looked_at(tmp_path):
    loaded = toy("kobart")
    unused = loaded.model.get_input_embeddings().weight.shape[0] - 1  # a row beyond the tokenizer's

    def broken():
        with torch.no_grad():
            loaded.model.model.shared.weight[unused] = math.nan
        return dict(rouge_mean=1.0)

    with pytest.raises(DialsumError, match="^the trained weights .* hold what is no number"):
        trained(loaded, rows(8), replace(FAST, epochs=1), tmp_path, broken)


def test_a_training_that_goes_on_draws_the_curve_of_an_undisturbed_one(monkeypatch, tmp_path):
    "Every third update is logged, and four are an epoch: what is logged next does not begin in the epoch before"

    monkeypatch.setattr("dialsum.training.trainer.updates", lambda r, rows: 120)
    r = Recipe(epochs=2, batch_size=2, learning_rate=1e-3, warmup_ratio=0.0)
    whole = trained(toy("kobart"), rows(8), r, tmp_path / "whole", scores(1, 2))
    with pytest.raises(Killed):
        trained(toy("kobart"), rows(8), r, tmp_path / "torn", scores(1, None))
    again = trained(toy("kobart"), rows(8), r, tmp_path / "torn", scores(2))
    assert [point["step"] for point in whole["curve"]] == [1, 3, 4, 6, 8]
    assert again["curve"] == whole["curve"] and again["evaluations"] == whole["evaluations"]


def test_a_training_that_goes_on_knows_every_dialogue_of_every_epoch(tmp_path):
    "The best epoch was chosen on dev: by how much that flatters it is known from all epochs, before a kill and since"

    def judged(*epochs):  # of each the scores of two dialogues; None: the machine loses its power
        left = iter(epochs)

        def write():
            values = next(left)
            if values is None:
                raise Killed
            return dict(rouge_mean=sum(values) / len(values), per_dialogue=list(values))

        return write

    r = Recipe(epochs=3, batch_size=4, learning_rate=1e-3)
    every = [10.0, 30.0], [32.0, 12.0], [20.0, 20.0]
    whole = trained(toy("kobart"), rows(8), r, tmp_path / "whole", judged(*every))
    with pytest.raises(Killed):
        trained(toy("kobart"), rows(8), r, tmp_path / "torn", judged(every[0], None))
    again = trained(toy("kobart"), rows(8), r, tmp_path / "torn", judged(*every[1:]))
    [found], [undisturbed] = again["optimism"], whole["optimism"]
    assert found.to_dict() == undisturbed.to_dict()
    assert (found.chosen, found.naive) == ("epoch2", 22.0)
    assert found.nested == 11.0  # whichever dialogue is left out, the other one chooses badly for it
    assert found.choices == dict(epoch1=10, epoch2=10)
