"What a log may have been wrapped in on its way to a reader: each a function of the whole text"

import html
import json


def each_line(wrap):
    return lambda text: "".join(wrap(line) + "\n" for line in text.splitlines())


SURFACES = {
    "quoted": each_line(lambda line: f"> {line}"),
    "indented": each_line(lambda line: f"    {line}"),
    "journald": each_line(lambda line: f"Nov 20 03:12:44 gpu3 python[311]: {line}"),
    "kubernetes": each_line(lambda line: f"2026-11-20T03:12:44.123456789Z stderr F {line}"),
    "json lines": each_line(lambda line: json.dumps(dict(level="error", msg=line, ts=1))),
    "json of docker": each_line(lambda line: json.dumps(dict(log=line + "\n", stream="stderr"))),
    "json with its traceback": lambda text: json.dumps(dict(message="step failed", exc_info=text)) + "\n",
    "repr": lambda text: repr(text) + "\n",
    "html": html.escape,
    "rank": each_line(lambda line: f"[rank0]: {line}"),
    "compose of json": each_line(lambda line: "trainer-1  | " + json.dumps(dict(msg=line))),
}
