"What the tests of chat share"

import json
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dialsum.endpoints import question

KEY = "sk-test-do-not-tell-4711"


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a client that went away is what some tests are about


@contextmanager
def serving(reply):
    "A server that answers what `reply(number of the request, its JSON, handler)` gives: (status, headers, body), or a text, or nothing (the connection is dropped)"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                server.seen.append(asked)
                server.paths.append(self.path)
                server.keys.append(self.headers.get("Authorization"))
                server.moments.append(time.monotonic())
                n, server.under_way = len(server.seen), server.under_way + 1
                server.most = max(server.most, server.under_way)
            try:
                answer = reply(n, asked, self)
            finally:
                with server.lock:
                    server.under_way -= 1
            if answer is None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            status, headers, body = (200, {}, told(answer)) if isinstance(answer, str) else answer
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in ({"Content-Length": len(body)} | headers).items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):  # only models are listed here
            with server.lock:
                server.keys.append(self.headers.get("Authorization"))
            body = json.dumps(dict(data=[dict(id=name) for name in server.models])).encode()
            self.send_response(200 if server.models else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = Quiet(("127.0.0.1", 0), Handler)
    server.seen, server.keys, server.moments, server.lock, server.under_way, server.most = (
        [],
        [],
        [],
        threading.Lock(),
        0,
        0,
    )
    server.paths, server.models = [], []
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.01), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def told(text, **more):
    return (
        dict(
            choices=[dict(message=dict(role="assistant", content=text), finish_reason="stop")],
            usage=dict(prompt_tokens=7, completion_tokens=3),
        )
        | more
    )


def written(text, end="stop"):
    "A reply of `/v1/completions`"
    body = dict(
        choices=[dict(text=text, finish_reason=end)], usage=dict(prompt_tokens=7, completion_tokens=3)
    )
    return 200, {}, body


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(question, "FIRST_WAIT", 0.02)
    for name in ("OPENAI_API_KEY", "UPSTAGE_API_KEY", "SOLAR_API_KEY"):
        monkeypatch.delenv(name, raising=False)
