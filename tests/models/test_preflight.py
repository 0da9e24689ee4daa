"Failures that users report, found before a weight is read: each made for real in a checkpoint folder"

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from support.experiments import is_korean

from dialsum.checks.dry_run import rehearse
from dialsum.checks.preflight import check_model
from dialsum.checks.room import check_disk, check_memory
from dialsum.models.cards import CARDS, card
from dialsum.models.replicas import replica
from dialsum.models.weight_files import safetensors_header
from dialsum.training.recipe import make_recipe, memory_needed, plan_training


@pytest.fixture
def folder(tmp_path):
    "A whole checkpoint folder of Qwen's replica in two shards, to be damaged"
    from safetensors.torch import load_file, save_file

    top = tmp_path / "qwen"
    shutil.copytree(replica(card("qwen3-4b")), top)
    tensors = load_file(top / "model.safetensors")
    (top / "model.safetensors").unlink()
    shards = {
        "model-00001-of-00002.safetensors": dict(list(tensors.items())[:10]),
        "model-00002-of-00002.safetensors": dict(list(tensors.items())[10:]),
    }
    for name, part in shards.items():
        save_file(part, top / name, metadata=dict(format="pt"))
    (top / "model.safetensors.index.json").write_text(
        json.dumps(dict(metadata={}, weight_map={t: n for n, part in shards.items() for t in part}))
    )
    return top


def edit(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def missing_shard(f):
    (f / "model-00002-of-00002.safetensors").unlink()


def truncated(f):
    p = f / "model-00001-of-00002.safetensors"
    p.write_bytes(p.read_bytes()[:-100])


def cut_in_the_header(f):
    (f / "model-00001-of-00002.safetensors").write_bytes(b"\xff\x00")


def index_disagrees(f):
    p = f / "model.safetensors.index.json"
    names = json.loads(p.read_text())["weight_map"]
    edit(p, weight_map=dict.fromkeys(names, "model-00001-of-00002.safetensors"))


def pickled_only(f):
    for p in f.glob("model*"):
        p.unlink()
    (f / "pytorch_model.bin").write_bytes(b"")


def of_rows(f, rows):
    "The checkpoint with an embedding of another number of rows, in weights and configuration"
    from safetensors.torch import load_file, save_file

    [path] = [p for p in f.glob("*.safetensors") if "model.embed_tokens.weight" in safetensors_header(p)]
    tensors = load_file(path)
    tensors["model.embed_tokens.weight"] = torch.zeros(rows, tensors["model.embed_tokens.weight"].shape[1])
    save_file(tensors, path, metadata=dict(format="pt"))
    edit(f / "config.json", vocab_size=rows)


def too_many_ids(f):
    of_rows(f, 2000)


def too_few_ids(f):
    of_rows(f, 4000)


def other_numbers(f):
    edit(f / "config.json", vocab_size=2000)


def no_generation_prompt(f):
    (f / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] }}{% endfor %}"
    )


def other_opening(f):
    (f / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ '[' + m['role'] + ']' + m['content'] + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )


def other_architecture(f):
    edit(f / "config.json", model_type="llama")


def no_tokenizer(f):
    (f / "tokenizer.json").unlink()
    (f / "tokenizer_config.json").unlink()


def quantized(f):
    edit(f / "config.json", quantization_config=dict(quant_method="bitsandbytes", load_in_4bit=True))


def other_adapter(f):
    (f / "adapter_config.json").write_text(
        json.dumps(dict(base_model_name_or_path="meta-llama/Llama-3.2-3B", peft_type="LORA"))
    )
    (f / "adapter_model.safetensors").write_bytes(b"")


DAMAGE = [
    (missing_shard, "shard model-00002-of-00002.safetensors is missing"),
    (truncated, "its header says"),
    (cut_in_the_header, "cut off inside its header"),
    (index_disagrees, "not in the shard"),
    (pickled_only, "model.safetensors"),
    (too_many_ids, "rows"),
    (other_numbers, "by the configuration"),
    (no_generation_prompt, "generation prompt"),
    (other_opening, "opens an answer differently"),
    (other_architecture, "'llama', not 'qwen3'"),
    (no_tokenizer, "tokenizer"),
    (quantized, "quantized already"),
    (other_adapter, "meta-llama/Llama-3.2-3B"),
]


def test_a_whole_folder_has_no_findings(folder):
    assert check_model(card("qwen3-4b"), "replica", {}, str(folder)) == []
    assert len(safetensors_header(folder / "model-00001-of-00002.safetensors")) == 10


@pytest.mark.parametrize(("damage", "words"), DAMAGE, ids=lambda d: getattr(d, "__name__", ""))
def test_a_damaged_checkpoint_is_found(damage, words, folder):
    damage(folder)
    errors = [f for f in check_model(card("qwen3-4b"), "replica", {}, str(folder)) if f.severity == "error"]
    assert any(words in f.what for f in errors), errors
    assert all(f.what and f.where and f.why and f.remedy for f in errors)
    assert all(is_korean(f) for f in errors), errors  # as the report tells it


def test_a_tokenizer_with_far_fewer_ids_and_one_without_pad_are_warnings(folder):
    too_few_ids(folder)
    assert [f.severity for f in check_model(card("qwen3-4b"), "replica", {}, str(folder))] == ["warning"]
    assert [(f.severity, f.what) for f in check_model(card("solar"), "replica", {})] == [
        ("warning", "there is no pad token")
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(max_source=40960), "positions"),
        (dict(batch_size=-1), "batch_size"),
        (dict(learning_rate=-1e-4), "learning_rate"),
        (dict(warmup_ratio=500.0), "warmup_ratio"),
        (dict(precision="fp16"), "fp16"),
        (dict(lora_targets="query_key_value"), "query_key_value"),
        (dict(top_p=0.9), "top_p"),
        (dict(method="lorra"), "lorra"),
    ],
)
def test_settings_that_cannot_work_are_found(options, words):
    errors = [f for f in check_model(card("qwen3-4b"), "replica", options) if f.severity == "error"]
    assert errors and any(words in f.what + f.remedy for f in errors) and all(is_korean(f) for f in errors), (
        errors
    )
    assert all("lorra" in f.message("ko").what for f in errors if "lorra" in f.what)


def test_a_disk_or_memory_that_is_too_small_is_found_with_what_would_fit():
    [disk] = check_disk(card("kobart"), "full", dict(save_total_limit=2), Path("."), free=2**30)
    assert (
        "GiB" in disk.what
        and "--save-total-limit" in disk.remedy
        and not check_disk(card("kobart"), "full", {}, Path("."), free=2**40)
    )
    [more] = check_disk(
        card("kobart"), "full", dict(save_total_limit=2, keep_checkpoints=2), Path("."), free=2**30
    )

    def size(found):
        return float(re.search(r"need ([\d.]+) GiB", found.what)[1])

    assert (
        size(more) > size(disk)
        and "--keep-checkpoints" in more.remedy
        and "--keep-checkpoints" in more.message("ko").remedy
        and "--keep-checkpoints" not in disk.remedy
    )
    [memory] = check_memory(card("kobart"), "full", dict(batch_size=16), available=8 * 2**30)
    assert (
        memory.severity == "error"
        and "--batch-size" in memory.remedy
        and not check_memory(card("kobart"), "full", {}, available=2**40)
    )


def test_preflight_tells_a_missing_file_once(typed, tmp_path):
    done = typed("preflight", "--models", "all", "--train-csv", tmp_path / "none.csv", "--runs", tmp_path)
    assert done.returncode == 1 and done.stdout.count("none.csv") == 1
    assert "all models: error: " in done.stdout


def test_preflight_json_is_the_contract(typed, tmp_path):
    done = typed(
        "preflight", "--models", "all", "--train-csv", tmp_path / "none.csv", "--runs", tmp_path, "--json"
    )
    told = json.loads(done.stdout)
    assert (
        done.returncode == 1
        and not told["ok"]
        and set(told) == {"ok", "seconds", "models"}
        and set(told["models"]) == {c.name for c in CARDS.values() if c.group == "all"}
    )
    for m in told["models"].values():
        assert not m["ok"] and all(
            set(f) == {"severity", "code", "fields", "effect", "where", "what", "why", "remedy"}
            for f in m["findings"]
        )
        assert any("none.csv" in f["what"] for f in m["findings"]) and any(
            "weights" in f["what"] for f in m["findings"]
        )
    done = typed("preflight", "--models", "all", "--scale", "replica", "--runs", tmp_path, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["ok"], done.stdout


def test_a_model_that_an_option_does_not_fit_stops_no_other(typed, tmp_path):
    done = typed(
        "preflight",
        "--models",
        "kobart",
        "qwen3-4b",
        "--method",
        "qlora",
        "--scale",
        "replica",
        "--rehearse",
        "--runs",
        tmp_path,
        "--json",
    )
    told = json.loads(done.stdout)["models"]
    assert done.returncode == 1 and not told["kobart"]["ok"] and told["qwen3-4b"]["ok"], told
    refused = typed(
        "run", "--models", "kobart", "--method", "qlora", "--scale", "replica", "--runs", tmp_path / "runs"
    )
    assert (
        refused.returncode == 2
        and "kobart is trained in full" in refused.stderr
        and not (tmp_path / "runs").exists()
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kobart", dict(label_smoothing=0.1, num_beams=2)),
        ("llama", dict(method="qlora", gradient_checkpointing=True)),
        ("polyglot", dict(new_tokens="#Person1#")),
        ("solar", dict(precision="bf16")),
    ],
)
def test_the_rehearsal_takes_the_path_that_was_asked(name, options, bf16_processor):
    assert rehearse(card(name), "full", options) == []


def test_the_rehearsal_finds_what_only_trying_finds(monkeypatch):
    "A library that has changed: a keyword is gone, or what is saved is not what was trained"
    import peft
    import transformers

    with monkeypatch.context() as m:
        m.delattr(peft, "get_peft_model")
        [found] = rehearse(card("qwen3-4b"), "full", {})
        assert (
            found.severity == "error"
            and "get_peft_model" in found.what
            and found.where.startswith("rehearsal, training")
        )
    saved = transformers.BartForConditionalGeneration.save_pretrained

    def other(self, *args, **kwargs):
        with torch.no_grad():
            self.model.shared.weight[0] += 1
        saved(self, *args, **kwargs)
        with torch.no_grad():
            self.model.shared.weight[0] -= 1

    monkeypatch.setattr(transformers.BartForConditionalGeneration, "save_pretrained", other)
    [found] = rehearse(card("kobart"), "replica", {})
    assert (
        "do not come back from the saved folder" in found.what and found.where == "rehearsal, loading again"
    )


def test_new_tokens_that_have_no_place_are_found(folder):
    words = ",".join(f"#Person{i}#" for i in range(1, 20))
    assert [
        f.what for f in check_model(card("qwen3-4b"), "replica", dict(new_tokens=words), str(folder))
    ] == ["19 new tokens do not fit the 8 spare rows of the embedding"]
    assert (
        check_model(
            card("qwen3-4b"),
            "replica",
            dict(new_tokens=words, method="full", learning_rate=1e-3),
            str(folder),
        )
        == []
    )


def test_what_does_not_fit_is_planned_or_refused(bf16_processor):
    [told] = check_memory(
        card("llama"), "full", {}, available=24 * 10**9
    )  # as asked it does not fit; left to the planner it does
    assert told.severity == "warning" and "it will be trained as" in told.why
    r, precision, choice = plan_training(card("llama"), "full", {}, available=24 * 10**9)
    assert (
        r.batch_size * r.gradient_accumulation_steps == make_recipe(card("llama"), "full", {}).batch_size
        and choice
        and memory_needed(card("llama"), r, precision).total < 24 * 10**9
    )
    [refused] = check_memory(card("polyglot"), "full", {}, available=4 * 10**9)
    assert refused.severity == "error" and "does not fit" in refused.what
    r, _, choice = plan_training(card("llama"), "full", dict(batch_size=8), available=10**9)
    assert r.batch_size == 8 and not choice  # what is given is taken; the preflight says that it does not fit


def test_an_adapter_is_looked_at_whole(tmp_path):
    from dialsum.models.loading import load
    from dialsum.training.lora import add_lora
    from dialsum.training.recipe import Recipe
    from dialsum.training.saves import save

    made = load(card("qwen3-4b"), str(replica(card("qwen3-4b"))))
    made.model = add_lora(made.model, Recipe(method="lora", lora_r=8))
    folder = save(made, tmp_path / "adapter")

    def check(c="qwen3-4b", **options):
        return [
            f.what for f in check_model(card(c), "replica", options, str(folder)) if f.severity == "error"
        ]

    assert check() == check(lora_r=8) == []
    assert (
        "rank 8" in check(lora_r=16)[0]
        and "full training asked" in check(method="full", learning_rate=1e-3)[0]
        and "adapter was made for" in check("llama")[0]
    )
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    assert "its header says" in check()[0]
