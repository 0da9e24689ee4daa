"Models on the hub: asked for the files that training will read, fetched before loading is timed, looked at like folders"

import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.experiments import is_korean

from dialsum.checks.preflight import check_model, preflight
from dialsum.checks.room import check_disk
from dialsum.models.cards import card
from dialsum.models.checkpoints import locate
from dialsum.models.loading import load
from dialsum.models.replicas import replica
from dialsum.runs.errors import DialsumError

COMMIT = "0123456789abcdef" * 2 + "01234567"


class Hub:
    "A hub on the loopback: repositories are folders, every request is written down"

    def __init__(self, top: Path):
        self.top, self.asked = top, []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, body: bool):
                hub.asked.append((self.command, self.path))
                name, _, file = self.path.lstrip("/").partition("/resolve/main/")
                if not file:
                    name, _, file = self.path.lstrip("/").partition(f"/resolve/{COMMIT}/")
                path = hub.top / name / file
                if (hub.top / name / "moved").is_file():
                    self.send_response(307)
                    self.send_header(
                        "Location", f"/{(hub.top / name / 'moved').read_text()}/resolve/main/{file}"
                    )
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                if not path.is_file():
                    self.send_response(404)
                    self.send_header(
                        "X-Error-Code",
                        "EntryNotFound" if file == "" or (hub.top / name).is_dir() else "RepoNotFound",
                    )
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                content = path.read_bytes()
                self.send_response(200)
                for head, value in (
                    ("ETag", f'"{hashlib.sha1(content).hexdigest()}"'),
                    ("X-Repo-Commit", COMMIT),
                    ("Content-Length", str(len(content))),
                ):
                    self.send_header(head, value)
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def do_HEAD(self):
                self.answer(False)

            def do_GET(self):
                self.answer(True)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(
            target=self.server.serve_forever, kwargs=dict(poll_interval=0.01), daemon=True
        ).start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def fetched(self, end: str) -> list[str]:
        return [path for method, path in self.asked if method == "GET" and path.endswith(end)]

    def repository(self, name: str, of: Path, without: tuple = ()) -> Path:
        folder = self.top / name
        shutil.copytree(of, folder)
        for file in without:
            (folder / file).unlink()
        return folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    from huggingface_hub import constants

    made = Hub(tmp_path / "hub")
    monkeypatch.setattr(constants, "ENDPOINT", made.address)
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)  # it keeps the endpoint of its first use
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", made.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "")
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def qwen():
    return card("qwen3-4b")


def sharded(folder: Path) -> list[str]:
    "The folder's weights in two shards with an index; their names"
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    parts = {
        "model-00001-of-00002.safetensors": dict(list(tensors.items())[:10]),
        "model-00002-of-00002.safetensors": dict(list(tensors.items())[10:]),
    }
    for name, part in parts.items():
        save_file(part, folder / name, metadata=dict(format="pt"))
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    (folder / "model.safetensors.index.json").write_text(
        json.dumps(
            dict(
                metadata=dict(total_size=total), weight_map={t: n for n, part in parts.items() for t in part}
            )
        )
    )
    return list(parts)


def test_a_model_with_pickled_weights_alone_is_refused_before_anything_is_loaded(hub, qwen, tmp_path):
    folder = hub.repository("a/pickled", replica(qwen), without=["model.safetensors"])
    (folder / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(
        DialsumError,
        match="qwen3-4b: the hub has 'a/pickled' without model.safetensors or its index, .*not read: load it once",
    ) as e:
        locate(qwen, "full", "a/pickled")
    assert "\n" not in str(e.value)
    found = preflight(["qwen3-4b"], "full", {}, {"qwen3-4b": "a/pickled"}, tmp_path)
    [error] = [f for f in found.models["qwen3-4b"] if f.where == "checkpoint"]
    assert error.severity == "error" and "a/pickled" in error.what and not found.ok()
    assert is_korean(error)
    assert not hub.fetched(".bin")


def test_what_else_the_hub_lacks_is_said(hub, qwen):
    (hub.top / "a/adapter").mkdir(parents=True)
    (hub.top / "a/adapter" / "adapter_config.json").write_text("{}")
    (hub.top / "a/torn").mkdir()
    shutil.copy(replica(qwen) / "config.json", hub.top / "a/torn")
    (hub.top / "a/torn" / "model.safetensors.index.json").write_text('{"weight_map": {')
    for name, words in (
        ("a/adapter", "as a LoRA adapter"),
        ("a/nothing", "no such model"),
        ("a/torn", "without model.safetensors or its index"),
    ):
        with pytest.raises(DialsumError, match=words):
            locate(qwen, "full", name)


@pytest.mark.parametrize("shards", [False, True], ids=["one file", "shards"])
def test_weights_are_fetched_before_they_are_loaded(hub, qwen, shards, tmp_path):
    from dialsum.generation.checkpoints import checkpoint_of
    from dialsum.models.hub import in_cache
    from dialsum.runs.stage import begin

    folder = hub.repository("a/whole", replica(qwen))
    files = sharded(folder) if shards else ["model.safetensors"]
    assert locate(qwen, "full", "a/whole") == "a/whole"
    assert not hub.fetched(".safetensors")  # to be found is not to be fetched
    stage = begin("evaluate", dict(run="", model="qwen3-4b", scale="full", checkpoint="a/whole"))
    assert checkpoint_of(stage, qwen, "full") == "a/whole"
    assert sorted({Path(p).name for p in hub.fetched(".safetensors")}) == files
    assert in_cache("a/whole")
    before = len(hub.fetched(".safetensors"))
    loaded = load(qwen, "a/whole")
    assert (
        loaded.parameters[0] > 0 and len(hub.fetched(".safetensors")) == before
    )  # nothing is left to wait for
    assert locate(qwen, "full", "a/whole") == "a/whole"


def test_of_a_model_that_the_cache_holds_whole_the_hub_is_asked_nothing(hub, qwen):
    "Where there is no network, each question is repeated for a minute and a half"
    from huggingface_hub import hf_hub_download

    for path in hub.repository("a/whole", replica(qwen)).iterdir():
        hf_hub_download("a/whole", path.name)
    before = list(hub.asked)
    assert not [f for f in check_model(qwen, "replica", {}, "a/whole") if f.severity == "error"]
    assert load(qwen, locate(qwen, "full", "a/whole")).parameters
    assert hub.asked == before


def test_an_adapter_waits_for_its_base_before_loading_is_timed(hub, qwen, tmp_path):
    from dialsum.models.checkpoints import fetch

    hub.repository("a/base", replica(qwen))
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(
        json.dumps(dict(base_model_name_or_path="a/base"))
    )
    lines = []
    fetch(qwen, str(tmp_path / "adapter"), lines.append)
    assert (
        len(hub.fetched("model.safetensors")) == 1
        and len(lines) == 1
        and "model.safetensors of a/base" in lines[0]
    )
    fetch(qwen, str(tmp_path / "adapter"), lines.append)
    assert len(lines) == 1


def test_a_renamed_repository_is_followed(hub, qwen):
    hub.repository("a/new", replica(qwen))
    (hub.top / "a/old").mkdir()
    (hub.top / "a/old" / "moved").write_text("a/new")
    assert locate(qwen, "full", "a/old") == "a/old"


def test_half_a_download_is_no_model(hub, qwen, monkeypatch):
    from huggingface_hub import constants, hf_hub_download

    folder = hub.repository("a/half", replica(qwen))
    shards = sharded(folder)
    for file in ("config.json", "model.safetensors.index.json", shards[0]):
        hf_hub_download("a/half", file)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DialsumError, match="not whole in the Hugging Face cache"):
        locate(qwen, "full", "a/half")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hf_hub_download("a/half", shards[1])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert locate(qwen, "full", "a/half") == "a/half"


def truncated(folder):
    p = folder / "model.safetensors"
    p.write_bytes(p.read_bytes()[:-100])


def other_family(folder):
    p = folder / "config.json"
    p.write_text(json.dumps(json.loads(p.read_text()) | dict(model_type="llama")))


def small_vocabulary(folder):
    p = folder / "config.json"
    p.write_text(json.dumps(json.loads(p.read_text()) | dict(vocab_size=2000)))


def cut_config(folder):
    p = folder / "config.json"
    p.write_text(p.read_text()[:50])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncated, "its header says"),
        (other_family, "the architecture is 'llama'"),
        (small_vocabulary, "by the configuration 2000×"),
    ],
)
def test_what_the_cache_holds_is_checked_like_a_folder(hub, qwen, damage, words, monkeypatch):
    from huggingface_hub import constants, hf_hub_download

    folder = hub.repository("a/damaged", replica(qwen))
    damage(folder)
    for path in folder.iterdir():
        hf_hub_download("a/damaged", path.name)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cached, local = (
        [f.what for f in check_model(qwen, "replica", {}, where) if f.severity == "error"]
        for where in ("a/damaged", str(folder))
    )
    assert any(words in what for what in cached) and cached == local


def test_a_model_that_is_still_on_the_hub_is_checked_by_its_configuration(hub, qwen):
    other_family(hub.repository("a/other", replica(qwen)))
    assert any("the architecture is 'llama'" in f.what for f in check_model(qwen, "replica", {}, "a/other"))
    assert not hub.fetched(".safetensors")


def test_a_configuration_that_was_cut_off_is_a_finding(qwen, tmp_path):
    shutil.copytree(replica(qwen), tmp_path / "cut")
    cut_config(tmp_path / "cut")
    [error] = [f for f in check_model(qwen, "replica", {}, str(tmp_path / "cut")) if "no JSON" in f.what]
    assert "'config.json' is cut off" in error.what and is_korean(error)


def test_the_disk_must_hold_the_downloads_of_all_models_and_the_checkpoints(hub, qwen, tmp_path, monkeypatch):
    gb = 2**30
    need = check_disk(card("kobart"), "full", {}, tmp_path, free=0)[0].what
    assert check_disk(card("kobart"), "full", {}, tmp_path, free=8 * gb) == []
    [short] = check_disk(card("kobart"), "full", {}, tmp_path, free=8 * gb, download=5 * gb)
    assert (
        "a download of 5.0 GiB and the checkpoints after it" in short.what
        and "8.0 GiB left" in short.what
        and "GiB" in need
    )
    [none] = check_disk(qwen, "full", {}, tmp_path, free=8 * gb, download=9 * gb)
    assert "download" in none.what
    assert all(is_korean(f) for f in (short, none))
    import dialsum.checks.preflight

    told = []
    monkeypatch.setattr(
        dialsum.checks.preflight, "check_disk", lambda c, *args, download=0: told.append(download) or []
    )
    sizes = []
    for name in ("qwen3-4b", "llama-3.2-korean-3b"):
        hub.repository(f"a/{name}", replica(card(name)))
        sizes.append((hub.top / "a" / name / "model.safetensors").stat().st_size)
    preflight(
        ["qwen3-4b", "llama-3.2-korean-3b"],
        "replica",
        {},
        {n: f"a/{n}" for n in ("qwen3-4b", "llama-3.2-korean-3b")},
        tmp_path,
    )
    assert told == [sizes[0], sum(sizes)]
