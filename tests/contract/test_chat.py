"A client that loses nothing, whatever the endpoint does; every endpoint here is a real server on this machine"

import subprocess
import sys
import time

import pytest
from support.chat import quickly, serving  # noqa: F401

from dialsum.endpoints.client import Chat


@pytest.mark.parametrize(
    ("trouble", "least"),
    [
        ((429, {"Retry-After": "0.4"}, b"busy"), 0.4),
        ((503, {"Retry-After": "nonsense"}, b""), 0),
        ((500, {}, b"oh"), 0),
        ((408, {}, b""), 0),
        ((409, {}, b""), 0),
        ((529, {}, b""), 0),
        ((200, {"Content-Length": 999}, b'{"choices"'), 0),
        (None, 0),
        ("hang", 2),
    ],
)
def test_what_passes_is_asked_again(trouble, least):
    def reply(n, asked, handler):
        if n > 2:
            return "fine"
        if trouble == "hang":
            time.sleep(4)
            return None
        if trouble and "999" in str(trouble):
            handler.close_connection = True
        return trouble

    with serving(reply) as server:
        started, chat = time.monotonic(), Chat(server.url, "m", timeout=2 if trouble == "hang" else 60)
        assert (
            chat.one("hello") == "fine" and len(server.seen) == 3 and time.monotonic() - started >= 2 * least
        )
        assert (chat.used.requests, chat.used.retries, chat.used.prompt_tokens) == (3, 2, 7)


WRITER = "import sys; from dialsum.endpoints.answers import Answers; a = Answers(sys.argv[1]); print(*[a.put({k: sys.argv[2]})[k] for k in (f'{i%20:03}' for i in range(40))], sep='')"


def test_processes_share_a_cache_and_the_first_answer_stays(tmp_path):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "a.sqlite"), name],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in "AB"
    ]
    said = [w.communicate(timeout=600)[0].strip() for w in writers]
    assert said[0] == said[1] and len(said[0]) == 40 and all(w.returncode == 0 for w in writers)
