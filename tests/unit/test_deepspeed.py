"A DeepSpeed configuration file: what is refused before a model is loaded, and where it is told that it was used"

import json

import pytest

from dialsum.checks.options import check_options
from dialsum.cli import _arguments
from dialsum.commands.request import new_request
from dialsum.models.cards import card
from dialsum.report.sections.training import training_settings
from dialsum.runs.errors import DialsumError
from dialsum.runs.identity import named_places, stage_identity
from dialsum.runs.parameters import complete
from dialsum.training.deepspeed_file import engine_settings, read_deepspeed
from dialsum.training.metrics import TrainMetrics
from dialsum.training.recipe import plan_training
from dialsum.training.saves import is_complete

ZERO2 = dict(zero_optimization=dict(stage=2))


@pytest.fixture
def installed(monkeypatch):
    "A function that says whether the package is there"

    def say(is_there):
        monkeypatch.setattr("dialsum.training.recipe.find_spec", lambda name: object() if is_there else None)

    say(True)
    return say


@pytest.fixture
def written(tmp_path):
    "A function that writes a configuration file, and gives the option that names it"

    def write(content):
        text = content if isinstance(content, str) else json.dumps(content)
        path = tmp_path / "deepspeed.json"
        path.write_text(text, encoding="utf-8")
        return dict(deepspeed=str(path))

    return write


def refusal(options, model="qwen3-4b"):
    "The code with which the preflight and the stage refuse the same"
    codes = [f.code for f in check_options(card(model), "replica", options) if f.place == "deepspeed"]
    with pytest.raises(DialsumError) as e:
        plan_training(card(model), "replica", options)
    assert codes == [e.value.code], codes
    return e.value.code


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("{'stage': 2}", "json_unreadable"),
        ([ZERO2], "deepspeed_file_no_object"),
        ({}, "deepspeed_without_stage"),
        (dict(zero_optimization=True), "deepspeed_without_stage"),
        (dict(zero_optimization=dict(stage=True)), "deepspeed_without_stage"),
        (ZERO2 | dict(optimizer=dict(type="AdamW")), "deepspeed_sets_recipe"),
        (ZERO2 | dict(scheduler=dict(type="WarmupLR")), "deepspeed_sets_recipe"),
        (ZERO2 | dict(tensor_parallel=dict(autotp_size=2)), "deepspeed_sets_recipe"),
        (ZERO2 | dict(train_batch_size=16), "deepspeed_contradicts"),
        (ZERO2 | dict(gradient_accumulation_steps=2), "deepspeed_contradicts"),
        (ZERO2 | dict(gradient_clipping=0.5), "deepspeed_contradicts"),
        (ZERO2 | dict(bf16=dict(enabled=True)), "deepspeed_contradicts"),
        (ZERO2 | dict(fp16=True), "deepspeed_contradicts"),
    ],
)
def test_a_file_that_cannot_be_followed_is_refused(content, code, installed, written):
    assert refusal(written(content) | dict(processes=2)) == code


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (dict(fsdp=True), "deepspeed_with_fsdp"),
        (dict(method="qlora"), "deepspeed_with_qlora"),
        (dict(precision="bf16"), "deepspeed_on_cpu_in_half"),
    ],
)
def test_options_that_exclude_it_are_refused(options, code, installed, written, bf16_processor):
    assert refusal(written(ZERO2) | dict(processes=2, method="lora") | options) == code


def test_a_missing_package_and_a_missing_file_are_told(installed, written, tmp_path):
    assert refusal(dict(deepspeed=str(tmp_path / "no.json"))) == "deepspeed_file_missing"
    installed(False)
    assert refusal(written(ZERO2)) == "deepspeed_missing"


def test_what_the_file_leaves_open_is_the_recipe_s(installed, written):
    given = ZERO2 | dict(train_batch_size=8, gradient_clipping="auto", steps_per_print=7)
    content = read_deepspeed(written(given)["deepspeed"])
    settings = engine_settings(content, rows=8, processes=2, max_grad_norm=0.3, amp="fp16")
    assert settings["train_micro_batch_size_per_gpu"] == 4 and settings["gradient_accumulation_steps"] == 1
    assert settings["gradient_clipping"] == 0.3 and settings["steps_per_print"] == 7
    assert settings["fp16"] == dict(enabled=True) and settings["bf16"] == dict(enabled=False)
    assert content == given  # which is what a fact keeps
    assert not check_options(card("kobart"), "replica", written(given) | dict(processes=2))


def test_a_cut_model_is_always_saved_whole():
    key = "stage3_gather_16bit_weights_on_model_save"
    training = dict(rows=8, processes=2, max_grad_norm=1.0, amp="no")
    section = engine_settings(dict(zero_optimization=dict(stage=3)), **training)["zero_optimization"]
    assert section[key] is True
    with pytest.raises(DialsumError) as e:
        engine_settings(dict(zero_optimization={"stage": 3, key: False}), **training)
    assert e.value.code == "deepspeed_contradicts" and key in e.value.fields["key"]


def test_a_result_depends_on_what_the_file_says_and_not_on_where_it_lies(written, tmp_path):
    here, there = (complete("train", dict(deepspeed=path)) for path in ("a/zero.json", "/b/zero.json"))
    assert named_places(here)["deepspeed"].is_absolute()
    one, other = ({"<deepspeed>/zero.json": digest} for digest in ("1" * 64, "2" * 64))
    assert stage_identity("train", here, one) == stage_identity("train", there, one)
    assert stage_identity("train", here, one) != stage_identity("train", here, other)


def test_stages_are_given_the_file_by_its_whole_path(installed, written, monkeypatch, tmp_path):
    written(ZERO2)
    monkeypatch.chdir(tmp_path)
    words = ["run", "--models", "kobart", "--scale", "replica", "--deepspeed", "deepspeed.json"]
    assert new_request(_arguments(words)).options["deepspeed"] == str(tmp_path / "deepspeed.json")


def test_the_report_says_that_nobody_has_tried_it():
    settings = training_settings(TrainMetrics.of(deepspeed=ZERO2))
    assert settings == dict(DeepSpeed="ZeRO 2단계(GPU에서 시험하지 않음)")
    assert training_settings(TrainMetrics.of()) == {}


def test_a_checkpoint_of_an_engine_is_complete_with_the_name_of_its_folder(tmp_path):
    import torch
    from safetensors.torch import save_file

    save_file(dict(weight=torch.ones(2)), tmp_path / "model.safetensors")
    (tmp_path / "trainer_state.json").write_text("{}")
    (tmp_path / "global_step3").mkdir()
    for name in ("scheduler.pt", "rng_state.pth", "global_step3/mp_rank_00_model_states.pt"):
        torch.save({}, tmp_path / name)
    assert not is_complete(tmp_path)  # killed while its engine was saving
    (tmp_path / "latest").write_text("global_step3")
    assert is_complete(tmp_path)
    (tmp_path / "global_step3" / "mp_rank_00_model_states.pt").write_bytes(b"torn")
    assert not is_complete(tmp_path)


@pytest.mark.parametrize(
    ("content", "key", "given"),
    [
        (dict(bf16="auto"), "bf16", '"auto"'),
        (dict(bf16=False), "bf16", "false"),
        (dict(gradient_accumulation_steps=4), "gradient_accumulation_steps", "4"),
    ],
)
def test_a_contradiction_names_two_things_that_differ(content, key, given):
    with pytest.raises(DialsumError) as e:
        engine_settings(ZERO2 | content, rows=8, processes=2, max_grad_norm=1.0, amp="no")
    assert e.value.code == "deepspeed_contradicts" and e.value.fields["key"] == key
    assert e.value.fields["given"] == given != e.value.fields["expected"]
    assert "--gradient-accumulation-steps" not in str(e.value)


@pytest.mark.parametrize("key", ["amp", "torch_autocast", "optimizer"])
def test_what_the_recipe_decides_stands_in_no_file(key):
    with pytest.raises(DialsumError) as e:
        engine_settings(ZERO2 | {key: dict(enabled=True)}, rows=8, processes=2, max_grad_norm=1.0, amp="no")
    assert e.value.code == "deepspeed_sets_recipe"


def test_a_fault_of_another_option_is_not_told_of_deepspeed():
    [finding] = check_options(card("qwen3-4b"), "full", dict(method="full"))
    assert finding.code != "deepspeed_missing" and finding.place != "deepspeed"
