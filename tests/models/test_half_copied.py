"A checkpoint that was copied by half is a sentence in every command that loads one"

import json
import shutil

import pytest

from dialsum.generation.checkpoints import checkpoint_of, trained
from dialsum.models.cards import CARDS, card
from dialsum.models.loading import load
from dialsum.models.replicas import replica
from dialsum.models.sizes import skeleton
from dialsum.models.weight_files import check_whole
from dialsum.runs.errors import DialsumError
from dialsum.runs.folders import new_run
from dialsum.runs.places import sample_path
from dialsum.runs.stage import begin

QWEN = card("qwen3-4b")
TORN = ["model.safetensors", "config.json"]


@pytest.fixture(params=TORN)
def half(request, tmp_path):
    "A folder of which one file was cut off"
    folder = shutil.copytree(replica(QWEN), tmp_path / "half")
    file = folder / request.param
    file.write_bytes(file.read_bytes()[:-100])
    return folder, request.param


def test_loading_says_which_file_is_cut_off(half):
    folder, name = half
    with pytest.raises(DialsumError, match=f"not whole, '{name}' .*: fetch it again"):
        load(QWEN, str(folder))


@pytest.mark.parametrize("named", [True, False])
def test_predict_says_it_in_one_line(half, typed, tmp_path, named):
    folder, name = half
    words = ["--model", "qwen3-4b"] if named else []
    done = typed(
        "predict",
        "--checkpoint",
        folder,
        *words,
        "--input",
        sample_path() / "test.csv",
        "--output",
        tmp_path / "out.csv",
    )
    [line] = done.stderr.strip().splitlines()
    assert done.returncode == 2 and f"'{name}'" in line and line.endswith("fetch it again.")


@pytest.mark.parametrize("found", [checkpoint_of, trained])
def test_a_stage_says_it_before_it_loads(half, tmp_path, found):
    folder, name = half
    stage = begin("evaluate", dict(run=str(new_run("torn", {}, tmp_path / "runs")), checkpoint=str(folder)))
    with pytest.raises(DialsumError, match=f"'{name}'"):
        found(stage, QWEN, "full")


def test_the_model_that_a_run_trained_and_an_adapter_are_looked_at_too(tmp_path):
    from dialsum.training.lora import add_lora
    from dialsum.training.recipe import Recipe
    from dialsum.training.saves import save

    base = shutil.copytree(replica(QWEN), tmp_path / "base")
    loaded = load(QWEN, str(base))
    loaded.model = add_lora(loaded.model, Recipe(method="lora", lora_r=4, lora_alpha=8, lora_dropout=0.0))
    adapter = save(loaded, tmp_path / "adapter")
    load(QWEN, str(adapter))
    for file in (
        adapter / "adapter_model.safetensors",
        adapter / "adapter_config.json",
        base / "model.safetensors",
        base / "config.json",
    ):
        whole = file.read_bytes()
        file.write_bytes(whole[:-100])
        with pytest.raises(DialsumError, match=f"not whole, '{file.name}'"):
            load(QWEN, str(adapter))
        file.write_bytes(whole)
    load(QWEN, str(adapter))


def rewritten(folder, change):
    "The tensors of a folder after `change`, which takes and returns them by name"
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata=dict(format="pt"))


def edited(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def short_embedding(f):
    rewritten(
        f,
        lambda tensors: {
            n: t[:-10].clone() if n in ("model.shared.weight", "model.embed_tokens.weight") else t
            for n, t in tensors.items()
        },
    )


def lost_layer(f):
    rewritten(f, lambda tensors: {n: t for n, t in tensors.items() if "layers.1." not in n})


def gptq(f):
    edited(f / "config.json", quantization_config=dict(quant_method="gptq", bits=4))


def no_size(f):
    edited(f / "config.json", **{"d_model" if "kobart" in f.name else "hidden_size": "wide"})


def cut_note(f):
    (f / "dialsum.json").write_text('{"card": "ko')


def foreign_note(f):
    (f / "dialsum.json").write_text(json.dumps(dict(card="kobart", lengths=dict(x=1))))


UNLIKE = [
    (short_embedding, "by the configuration"),
    (lost_layer, r"it lacks \d+ weights"),
    (gptq, "quantized by 'gptq'"),
    (no_size, "its configuration makes no model"),
    (cut_note, "the note '.*dialsum.json' is cut off"),
    (foreign_note, "the note '.*dialsum.json' is not as a training writes it"),
]


@pytest.mark.parametrize("name", ["kobart", "qwen3-4b"])
@pytest.mark.parametrize(("damage", "words"), UNLIKE, ids=lambda d: getattr(d, "__name__", ""))
def test_every_command_tells_a_damage_by_one_sentence(name, damage, words, typed, tmp_path):
    from support.experiments import is_korean

    from dialsum.checks.preflight import check_model

    folder = shutil.copytree(replica(card(name)), tmp_path / name)
    damage(folder)
    with pytest.raises(DialsumError, match=words) as loading:
        load(card(name), str(folder))
    with pytest.raises(DialsumError) as using:
        trained(begin("evaluate", dict(model=name, checkpoint=str(folder), run="")), card(name), "full")
    done = typed(
        "predict",
        "--checkpoint",
        folder,
        "--model",
        name,
        "--input",
        sample_path() / "test.csv",
        "--output",
        tmp_path / "out.csv",
    )
    assert (
        done.returncode == 2
        and done.stderr == f"dialsum: {loading.value}\n"
        and str(using.value) == str(loading.value)
        and str(folder) in done.stderr
    )
    errors = [
        f
        for f in check_model(card(name), "replica", dict(method="full", learning_rate=1e-3), str(folder))
        if f.severity == "error"
    ]
    assert [f for f in errors if f.what in str(loading.value) and f.remedy in str(loading.value)], errors
    assert all(is_korean(f) for f in errors), errors


@pytest.mark.parametrize("name", CARDS)
def test_what_is_whole_is_not_refused(name, tmp_path):
    "Under every name that transformers takes a tensor by, and with quantized weights that are read here"
    check_whole(card(name), str(replica(card(name))))
    folder = shutil.copytree(replica(card(name)), tmp_path / name)
    prefix = skeleton(card(name)).base_model_prefix
    rewritten(folder, lambda tensors: {n.removeprefix(f"{prefix}."): t for n, t in tensors.items()})
    check_whole(card(name), str(folder))
    load(card(name), str(folder))


@pytest.mark.parametrize("name", ["kobart", "qwen3-4b"])
def test_weights_that_are_no_numbers_are_not_used(name, typed, tmp_path):
    import torch

    for value in ("nan", "inf"):
        folder = shutil.copytree(replica(card(name)), tmp_path / value)
        rewritten(
            folder,
            lambda tensors, value=value: {
                n: torch.full_like(t, float(value)) if "layers.1." in n else t for n, t in tensors.items()
            },
        )
        with pytest.raises(
            DialsumError,
            match=rf"the weights '.*layers\.1\..*' of the checkpoint '.*{value}' hold what is no number",
        ):
            load(card(name), str(folder))
    done = typed(
        "predict",
        "--checkpoint",
        folder,
        "--model",
        name,
        "--input",
        sample_path() / "test.csv",
        "--output",
        tmp_path / "out.csv",
        "--engine",
        "hf",
    )
    assert (
        done.returncode == 2
        and "hold what is no number" in done.stderr
        and not (tmp_path / "out.csv").exists()
    )


def test_an_adapter_that_is_no_number_is_not_used(tmp_path):
    import torch

    from dialsum.training.lora import add_lora
    from dialsum.training.recipe import Recipe
    from dialsum.training.saves import save

    loaded = load(QWEN, str(replica(QWEN)))
    loaded.model = add_lora(loaded.model, Recipe(method="lora", lora_r=4))
    with torch.no_grad():
        next(p for p in loaded.model.parameters() if p.requires_grad)[0, 0] = float("nan")
    adapter = save(loaded, tmp_path / "adapter")
    with pytest.raises(DialsumError, match="the weights '.*lora_A.*' of the checkpoint '.*adapter' hold"):
        load(QWEN, str(adapter))
