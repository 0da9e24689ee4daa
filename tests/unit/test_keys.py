"A key never travels unencrypted to another machine"

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.keys import KEY

from dialsum.api.summaries import Solar
from dialsum.augment.backends import backend
from dialsum.endpoints.client import Chat
from dialsum.models.hub import require_on_hub
from dialsum.pipeline.rules import check_systems
from dialsum.runs.errors import DialsumError

ANSWER = json.dumps(
    dict(choices=[dict(message=dict(role="assistant", content="네"), finish_reason="stop")], usage={})
).encode()


@contextmanager
def listening(status=200, **headers):
    "A server on all addresses of this machine that notes the keys which it is sent"

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer()

        def do_HEAD(self):
            self.answer()

        do_GET = do_HEAD

        def answer(self):
            server.keys.append(self.headers.get("Authorization"))
            self.send_response(status)
            for name, value in (dict(headers) | {"Content-Length": len(ANSWER)}).items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(ANSWER)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)
    server.keys = []
    threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.01), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def by_name(server):  # as another machine would call this one
    try:
        socket.gethostbyname(socket.gethostname())
    except OSError:
        pytest.skip("this machine's name leads nowhere")
    return f"http://{socket.gethostname()}:{server.server_port}/v1"


def test_a_named_key_is_not_sent_to_another_machine_over_plain_http(monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    with listening() as server:
        with pytest.raises(DialsumError, match="unencrypted.*https") as refused:
            Chat(by_name(server), "m", key_variable="MY_KEY", retries=0).one("안녕?")
        assert KEY not in str(refused.value) and server.keys == []
        assert Chat(by_name(server), "m").one("안녕?") == "네" and server.keys == [
            None
        ]  # without a key it may


def test_a_named_key_is_sent_to_this_machine(monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    with listening() as server:
        for host in ("127.0.0.1", "localhost", "127.0.0.5"):
            assert (
                Chat(f"http://{host}:{server.server_port}/v1", "m", key_variable="MY_KEY", retries=0).one(
                    "안녕?"
                )
                == "네"
            )
        assert server.keys == [f"Bearer {KEY}"] * 3


def test_a_redirect_does_not_take_the_key_along(monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    with listening() as other, listening(307, Location=by_name(other)) as first:
        with pytest.raises(DialsumError, match="leads to another address"):
            Chat(f"http://127.0.0.1:{first.server_port}/v1", "m", key_variable="MY_KEY", retries=0).one(
                "안녕?"
            )
        assert first.keys == [f"Bearer {KEY}"] and other.keys == []


def test_an_address_that_changes_later_gets_no_key_either(monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    with listening() as server:
        chat = Chat("https://llm.example.com/v1", "m", key_variable="MY_KEY", retries=0)
        chat.address = f"{by_name(server)}/chat/completions"
        with pytest.raises(DialsumError, match="unencrypted"):
            chat.one("안녕?")
        assert server.keys == []


@pytest.mark.parametrize(
    "make",
    [lambda url: Solar(url, key_variable="MY_KEY"), lambda url: backend(url, "m", key_variable="MY_KEY")],
    ids=["solar", "augmentation"],
)
def test_every_client_holds_to_it(make, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    for url in (
        "http://llm.example.com/v1",
        "http://10.0.0.7:8000",
        "http://127.example.com/v1",
        "http://localhost.example.com/v1",
    ):
        with pytest.raises(DialsumError, match="unencrypted"):
            make(url)
    for url in (
        "https://llm.example.com/v1",
        "http://localhost:8000",
        "http://[::1]:8000",
        "http://LocalHost:8000",
    ):
        make(url)


def test_a_tracker_on_another_machine_gets_no_key_unencrypted(monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    for url, good in (
        ("http://wandb.example.com", False),
        ("https://wandb.example.com", True),
        ("http://localhost:8080", True),
        ("", True),
    ):
        monkeypatch.setenv("WANDB_BASE_URL", url)
        if good:
            check_systems(dict(use_wandb=True))
        else:
            with pytest.raises(DialsumError, match="WANDB_API_KEY would travel"):
                check_systems(dict(use_wandb=True))


def test_a_mirror_of_the_hub_gets_no_token_unencrypted(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setenv("HF_TOKEN", KEY)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with listening() as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://localhost:{server.server_port}")
        require_on_hub("some/model")
        monkeypatch.setattr(constants, "ENDPOINT", by_name(server).removesuffix("/v1"))
        require_on_hub("some/model")
        assert server.keys == [f"Bearer {KEY}", None]
