"An adapter whose base has moved: the message says so, and `base` names its new place, in every command"

import json
import shutil

import pytest

from dialsum.checks.preflight import check_model
from dialsum.generation.decoding import Decoding
from dialsum.generation.factory import engine
from dialsum.generation.predictor import Predictor
from dialsum.models import checkpoints
from dialsum.models.cards import card
from dialsum.models.checkpoints import BASES, adapter_base, locate, move_base
from dialsum.models.loading import load
from dialsum.models.origins import fingerprint
from dialsum.models.replicas import replica
from dialsum.runs.errors import DialsumError
from dialsum.runs.parameters import stage_parameters
from dialsum.runs.places import sample_path
from dialsum.training.lora import add_lora
from dialsum.training.recipe import Recipe
from dialsum.training.saves import save

QWEN = card("qwen3-4b")
TEXT = "#Person1#: 안녕하세요.\n#Person2#: 네, 안녕하세요."


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    "An adapter that changes what is written, saved beside its base"
    import torch

    top = tmp_path_factory.mktemp("models")
    shutil.copytree(replica(QWEN), top / "base")
    loaded = load(QWEN, locate(QWEN, checkpoint=str(top / "base")))
    loaded.model = add_lora(loaded.model, Recipe(method="lora", lora_r=4, lora_alpha=8, lora_dropout=0.0))
    torch.manual_seed(0)
    with torch.no_grad():
        for p in loaded.model.parameters():
            if p.requires_grad:
                p.normal_(0, 0.1)
    save(loaded, top / "adapter", method="lora", scale="replica")
    return top, write(load(QWEN, str(top / "adapter")))


@pytest.fixture
def moved(trained, tmp_path, monkeypatch):
    "(its folder, the new place of its base, what it writes)"
    monkeypatch.setattr(checkpoints, "BASES", {})
    top, texts = trained
    shutil.copytree(top / "adapter", tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    (tmp_path / "adapter" / "adapter_config.json").write_text(
        json.dumps(config | dict(base_model_name_or_path=str(tmp_path / "gone" / "base")))
    )
    shutil.copytree(top / "base", tmp_path / "새 곳" / "base")
    return tmp_path / "adapter", tmp_path / "새 곳" / "base", texts


def write(loaded):
    return Predictor(loaded, decoding=Decoding(max_new_tokens=6)).predict_batch([TEXT])


def test_the_message_says_that_it_is_the_base_and_how_to_name_its_new_place(moved):
    adapter, _, _ = moved
    with pytest.raises(
        DialsumError,
        match=r"the base of the adapter '.*adapter' is not at '.*gone/base' any more: give its new folder with --base FOLDER",
    ):
        load(QWEN, str(adapter))
    [found] = [
        f
        for f in check_model(QWEN, "full", dict(method="lora", batch_size=1), str(adapter))
        if "base" in f.what
    ]
    assert "gone/base" in found.what and "--base" in found.remedy


def test_a_base_that_was_named_is_taken(moved):
    adapter, base, texts = moved
    move_base(QWEN, str(adapter), str(base))
    assert write(load(QWEN, str(adapter))) == texts
    assert not [
        f
        for f in check_model(QWEN, "full", dict(method="lora", batch_size=1), str(adapter))
        if "base" in f.what
    ]
    fast = engine(
        "hf", QWEN, str(adapter), 4, decoding=Decoding(max_new_tokens=6), loading=dict(device="cpu")
    )
    assert (
        fast.predict_batch([TEXT]) == texts and fast.disk > base.joinpath("model.safetensors").stat().st_size
    )


def test_the_preflight_takes_the_base_from_its_option(moved):
    adapter, base, _ = moved
    assert not [
        f
        for f in check_model(QWEN, "full", dict(method="lora", batch_size=1, base=str(base)), str(adapter))
        if "base" in f.what
    ]
    assert (
        next(
            f.where
            for f in check_model(
                QWEN, "full", dict(method="lora", batch_size=1, base=str(base / "no")), str(adapter)
            )
        )
        == "base"
    )


def test_what_was_trained_is_the_same_wherever_its_base_lies(moved, trained):
    adapter, base, _ = moved
    move_base(QWEN, str(adapter), str(base))
    assert fingerprint(str(adapter)) == fingerprint(str(trained[0] / "adapter"))


def test_a_base_for_what_is_no_adapter_is_refused(moved):
    _, base, _ = moved
    with pytest.raises(DialsumError, match="is no adapter and has no base"):
        move_base(QWEN, str(base), str(base))
    with pytest.raises(DialsumError, match="there is no folder"):
        move_base(QWEN, str(moved[0]), str(base / "nowhere"))


def test_predict_names_the_base_and_takes_it(moved, typed, tmp_path):
    adapter, base, _ = moved
    words = [
        "predict",
        "--checkpoint",
        adapter,
        "--model",
        "qwen3-4b",
        "--input",
        sample_path() / "test.csv",
        "--output",
        tmp_path / "out.csv",
        "--max-new-tokens",
        "2",
        "--engine",
        "hf",
    ]
    done = typed(*words)
    assert done.returncode == 2 and "--base FOLDER" in done.stderr and "Traceback" not in done.stderr
    assert typed(*words, "--base", base).returncode == 0 and (tmp_path / "out.csv").is_file()


def test_predict_on_a_folder_without_tokenizer_files_is_a_sentence(typed, tmp_path):
    from dialsum.checks.diagnosis import diagnose

    for name in ("llama-3.2-korean-3b", "kobart"):
        shutil.copytree(replica(card(name)), tmp_path / name, ignore=shutil.ignore_patterns("token*"))
        done = typed(
            "predict",
            "--checkpoint",
            tmp_path / name,
            "--model",
            name,
            "--input",
            sample_path() / "test.csv",
            "--output",
            tmp_path / "out.csv",
        )
        assert (
            done.returncode == 2
            and "holds no tokenizer" in done.stderr
            and len(done.stderr.strip().splitlines()) == 1
        )
        assert [
            d.kind for d in diagnose(done.stderr.replace("dialsum: ", "dialsum.runs.errors.DialsumError: "))
        ] == ["tokenizer-files-missing"]


def test_every_stage_that_loads_a_model_takes_a_base():
    assert {
        stage
        for stage in ("train", "evaluate", "predict", "tta", "epoch_candidates", "soup", "optimize")
        if "base" in stage_parameters(stage)
    } == {"train", "evaluate", "predict", "tta", "epoch_candidates", "soup", "optimize"}


def test_an_adapter_that_was_gone_on_with_names_the_new_place_of_its_base(moved, tmp_path):
    adapter, base, texts = moved
    move_base(QWEN, str(adapter), str(base))
    again = save(load(QWEN, str(adapter)), tmp_path / "again")
    BASES.clear()  # as in the next process
    assert json.loads((again / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    assert write(load(QWEN, str(again))) == texts


def test_an_adapter_of_a_run_keeps_the_base_that_it_names(moved, trained, tmp_path):
    from dialsum.generation.checkpoints import trained as checkpoint_in
    from dialsum.runs.folders import new_run
    from dialsum.runs.stage import begin

    adapter, base, _ = moved
    for folder, expected in ((trained[0] / "adapter", str(trained[0] / "base")), (adapter, str(base))):
        run = new_run("small", {}, tmp_path / "runs")
        shutil.copytree(folder, run / QWEN.name / "model")
        stage = begin("evaluate", dict(run=str(run), model=QWEN.name, base=str(base)))
        stage.model = QWEN.name
        assert adapter_base(checkpoint_in(stage, QWEN, "full")) == expected


def test_a_base_is_given_to_the_model_alone_that_starts_from_an_adapter(moved, typed, tmp_path):
    from dialsum.checks.preflight import preflight
    from dialsum.pipeline.plan import plan_stages

    adapter, base, _ = moved
    specs = plan_stages(
        tmp_path, ["qwen3-4b", "solar-10.7b"], dict(base=str(base)), checkpoints={"qwen3-4b": str(adapter)}
    )
    assert {s.model for s in specs if "base" in s.params} == {"qwen3-4b"}
    options = dict(method="lora", batch_size=1, base=str(base))
    where = {"qwen3-4b": str(adapter), "solar-10.7b": str(replica(card("solar")))}
    found = preflight(["qwen3-4b", "solar-10.7b"], "replica", options, where, tmp_path).models
    assert not [f for one in found.values() for f in one if "base" in f.what]
    assert [
        f.where
        for f in preflight(["solar-10.7b"], "replica", options, where, tmp_path).models["solar-10.7b"]
        if "base" in f.what
    ] == ["base"]
    done = typed(
        "run",
        "--scale",
        "replica",
        "--models",
        "solar-10.7b",
        "--base",
        base,
        "--runs",
        tmp_path / "runs",
        "--reports",
        tmp_path / "reports",
    )
    assert (
        done.returncode == 2
        and "--base" in done.stderr
        and "starts from an adapter" in done.stderr
        and not (tmp_path / "runs").exists()
    )


def test_an_experiment_that_goes_on_elsewhere_finds_the_base_of_its_only_adapter(tmp_path):
    from dialsum.pipeline.plan import plan_stages
    from dialsum.pipeline.rules import check_base

    options = dict(base="/new/place")
    specs = plan_stages(tmp_path, ["kobart", "qwen3-4b"], options)
    assert {s.key for s in specs if "base" in s.params} == {"qwen3-4b/evaluate", "qwen3-4b/predict"}
    check_base(options, ["kobart", "qwen3-4b"], {}, trained=True)
    for several in (["kobart"], ["qwen3-4b", "solar-10.7b"]):
        with pytest.raises(DialsumError, match="name the model with --models"):
            check_base(options, several, {}, trained=True)
    assert not [s for s in plan_stages(tmp_path, ["qwen3-4b", "solar-10.7b"], options) if "base" in s.params]


def test_a_base_that_cannot_be_had_is_told_as_the_base(moved, typed, tmp_path, monkeypatch):
    adapter, _, _ = moved
    monkeypatch.chdir(tmp_path)
    words = [
        "predict",
        "--checkpoint",
        adapter,
        "--model",
        "qwen3-4b",
        "--input",
        sample_path() / "test.csv",
        "--output",
        tmp_path / "out.csv",
        "--engine",
        "hf",
    ]
    for base in ("out/nope", tmp_path / "nope"):  # like a name on the hub, and not
        done = typed(*words, "--base", base)
        assert (
            done.returncode == 2
            and f"cannot be had from '{base}'" in done.stderr
            and done.stderr.endswith("give its folder with --base FOLDER.\n")
        )
    done = typed(*words, "--base", replica(card("kobart")))
    assert (
        done.returncode == 2
        and "the base of the adapter '" in done.stderr
        and "is a checkpoint of the architecture 'bart'" in done.stderr
        and "--base FOLDER" in done.stderr
    )


def test_a_base_of_other_sizes_is_a_sentence(moved, tmp_path):
    adapter, _, _ = moved
    from transformers import AutoConfig, AutoModelForCausalLM

    other = tmp_path / "other"
    shutil.copytree(replica(QWEN), other)
    config = AutoConfig.from_pretrained(other)
    config.intermediate_size = 128
    AutoModelForCausalLM.from_config(config).save_pretrained(other)
    move_base(QWEN, str(adapter), str(other))
    with pytest.raises(DialsumError, match="the adapter .* does not fit its base .*other.* --base FOLDER"):
        load(QWEN, str(adapter))


def test_a_training_on_another_base_reads_nothing_of_the_old_one(moved, tmp_path):
    "Its own saves, too, name the new base: the old folder may be damaged, or another model's by now"
    from dialsum.data.dialogues import read
    from dialsum.models.precision import Precision
    from dialsum.training.fine_tuning import train
    from dialsum.training.recipe import make_recipe

    adapter, base, _ = moved
    old = tmp_path / "gone" / "base"
    shutil.copytree(base, old)
    (old / "config.json").write_text('{"model_type": "qw')
    move_base(QWEN, str(adapter), str(base))
    rows = read(sample_path() / "train.csv", summaries=True).head(2)
    loaded = load(QWEN, str(adapter))
    options = dict(checkpoint=str(adapter), epochs=1, batch_size=2, max_source=256, max_target=32)
    train(
        loaded,
        rows,
        rows,
        make_recipe(QWEN, "replica", options),
        tmp_path / "trained",
        Precision.for_this_machine(QWEN, "replica", "lora"),
        say=lambda line: None,
    )
    assert json.loads((tmp_path / "trained" / "model" / "adapter_config.json").read_text())[
        "base_model_name_or_path"
    ] == str(base)


def test_the_preflight_counts_the_rows_of_an_adapters_own_base(moved):
    "Not those of the card: a toy's, or a larger vocabulary's"
    adapter, base, _ = moved
    assert [
        f.what for f in check_model(QWEN, "replica", dict(method="lora", base=str(base)), str(adapter))
    ] == []


def test_the_preflight_refuses_new_tokens_for_an_adapter_that_is_gone_on_with(moved):
    from support.experiments import is_korean

    adapter, base, _ = moved

    def check(**options):
        return check_model(QWEN, "replica", dict(method="lora", base=str(base)) | options, str(adapter))

    [found] = check(new_tokens="#Zebra#")
    assert (
        found.severity == "error"
        and found.where == "new_tokens"
        and "cannot get new tokens any more" in found.what
    )
    assert is_korean(found)
    loaded = load(QWEN, str(adapter))  # training says the same
    from dialsum.training.lora import keep_on
    from dialsum.training.new_tokens import add_tokens
    from dialsum.training.recipe import make_recipe

    add_tokens(loaded, "#Zebra#", "lora")
    with pytest.raises(DialsumError, match="cannot get new tokens any more"):
        keep_on(loaded, make_recipe(QWEN, "replica", dict(checkpoint=str(adapter))))
    assert check(new_tokens="a") == []  # which is a token already
