"A hub that fails, late or early: a finding says so, and nothing else is said of the model"

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from support.experiments import is_korean

from dialsum.checks.preflight import preflight
from dialsum.models.cards import card
from dialsum.models.checkpoints import locate
from dialsum.runs.errors import DialsumError


class Answers(BaseHTTPRequestHandler):
    "Answers by file name: a status, or None to hang up; 404 for others"

    by_file: ClassVar = {}

    def answer(self):
        status = self.by_file.get(self.path.rpartition("/")[2], 404)
        if status is None:  # without a word
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET = answer

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path):
    "Answers by file name, to be filled in by the test"
    from huggingface_hub import constants

    by_file = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Answers,), dict(by_file=by_file)))
    threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.01), daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "")
    yield by_file
    server.shutdown()
    server.server_close()


INDEX = "model.safetensors.index.json"
FAILING = [
    ({"config.json": 404, "adapter_config.json": "fails"}, "adapter"),
    ({"config.json": 200, "model.safetensors": "fails"}, "weights"),
    ({"config.json": 200, "model.safetensors": 404, INDEX: "fails"}, "index"),
]


@pytest.mark.parametrize("files", [files for files, _ in FAILING], ids=[name for _, name in FAILING])
@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, "the hub cannot be reached"),
        (429, "the hub answered with status 429"),
        (503, "the hub answered with status 503"),
        (403, "the hub does not give it to this account"),
    ],
)
def test_whatever_request_fails_is_said_as_it_is(hub, files, status, words):
    hub.update({file: status if answer == "fails" else answer for file, answer in files.items()})
    with pytest.raises(DialsumError, match=words) as e:
        locate(card("qwen3-4b"), "full", "a/model")
    assert "pickled" not in str(e.value) and "\n" not in str(e.value)


def test_a_hub_that_falls_silent_is_a_finding_of_the_preflight(hub, tmp_path):
    hub.update({"config.json": 200, "model.safetensors": None})
    found = preflight(["qwen3-4b"], "full", {}, {"qwen3-4b": "a/model"}, tmp_path)
    [error] = [f for f in found.models["qwen3-4b"] if f.where == "checkpoint"]
    assert error.severity == "error" and "the hub cannot be reached" in error.what and not found.ok()
    assert is_korean(error, "what", "remedy")


def test_weights_are_called_pickled_only_where_there_are_no_others(hub):
    hub.update({"config.json": 200})
    with pytest.raises(DialsumError, match="without model.safetensors or its index"):
        locate(card("qwen3-4b"), "full", "a/model")
