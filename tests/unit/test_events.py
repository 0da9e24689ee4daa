"Events of several machines, in one order, and only what is new is read"

import json
import os
import random

import pytest

from dialsum.runs import events
from dialsum.runs.events import EVENTS, MAIN, EventLog, events_file_of, log_event, read_events


def event(second, name):
    return dict(time=f"2026-01-01T10:00:{second:02}.000+00:00", event=name)


def write(run, host, *rows):
    with open(run / (events_file_of(host) if host else MAIN), "a", encoding="utf-8") as f:
        f.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def names(rows):
    return "".join(row["event"] for row in rows)


def test_events_of_three_machines_are_one_story(tmp_path):
    write(tmp_path, "", event(0, "a"), event(3, "d"), event(9, "i"))
    write(tmp_path, "node1", event(1, "b"), event(4, "e"), event(7, "g"))
    write(tmp_path, "node2", event(2, "c"), event(5, "f"), event(8, "h"))
    (tmp_path / "eventsomething.jsonl").write_text('{"event": "x"}\n')
    assert names(read_events(tmp_path)) == "abcdefghi"


def test_one_machine_keeps_its_order_where_clocks_tie_or_go_back(tmp_path):
    write(tmp_path, "", event(1, "a"), event(5, "d"), event(5, "e"))
    write(tmp_path, "node1", event(2, "b"), event(0, "c"), event(6, "f"), event(3, "g"))
    assert names(read_events(tmp_path)) == "abcdefg"


def test_zones_are_understood(tmp_path):
    write(tmp_path, "", event(10, "b"))
    write(tmp_path, "node1", dict(time="2026-01-01T19:00:05.000+09:00", event="a"))
    assert names(read_events(tmp_path)) == "ab"


def test_a_process_writes_where_its_environment_says(tmp_path, monkeypatch):
    log_event(tmp_path, "open")
    monkeypatch.setenv(EVENTS, events_file_of("node7"))
    log_event(tmp_path, "start", stage="train")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["events.jsonl", "events.node7.jsonl"]
    assert [e["event"] for e in read_events(tmp_path)] == ["open", "start"]


def test_where_nothing_can_be_noted_only_what_must_not_be_missing_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(EVENTS, "a-folder")
    (tmp_path / "a-folder").mkdir()
    log_event(tmp_path, "beat", done=1)
    log_event(tmp_path, "end")
    with pytest.raises(OSError, match="a-folder"):
        log_event(tmp_path, "fact")


@pytest.mark.parametrize("host", ["node/7", "../node7", "노드7", "node7.example.org", "x" * 300, ""])
def test_each_host_has_a_file_name_of_its_own(host, tmp_path):
    name = events_file_of(host)
    assert name != events_file_of(f"{host}-") and "/" not in name and len(name.encode()) < 200
    (tmp_path / name).write_text('{"event": "a"}\n')
    assert names(read_events(tmp_path)) == "a"


def test_a_torn_line_is_passed_over_and_read_when_it_is_whole(tmp_path):
    log = EventLog(tmp_path)
    write(tmp_path, "", event(0, "a"))
    line = json.dumps(event(1, "한")).encode()
    with open(tmp_path / MAIN, "ab", buffering=0) as f:
        f.write(line[:-4])
        assert names(log.read()) == names(read_events(tmp_path)) == "a"
        f.write(line[-4:])
        assert names(log.read()) == names(read_events(tmp_path)) == "a한"
        f.write(b"\n{torn\n\xff\n[]\n" + json.dumps(event(2, "c")).encode() + b"\n")
    assert names(log.read()) == names(read_events(tmp_path)) == "a한c"


def test_a_text_with_a_separator_of_lines_is_one_line(tmp_path):
    write(tmp_path, "", event(0, "a") | dict(why="one\u2028two"), event(1, "b"))
    assert names(read_events(tmp_path)) == "ab"


class Counted:
    "Opens files of events, and counts how often and how much is read"

    def __init__(self):
        self.opened, self.bytes = 0, 0

    def open(self, *given, **how):
        self.opened += 1
        file = open(*given, **how)  # noqa: SIM115 (closed by its reader)
        read, counted = file.read, self

        class Reader:
            def __enter__(self):
                return self

            def __exit__(self, *exception):
                file.close()

            def seek(self, offset):
                file.seek(offset)

            def read(self, size):
                content = read(size)
                counted.bytes += len(content)
                return content

        return Reader()


def test_only_what_was_appended_is_read(tmp_path, monkeypatch):
    counted = Counted()
    monkeypatch.setattr(events, "open", counted.open, raising=False)
    for second in range(50):
        write(tmp_path, "", event(second, "a"))
        write(tmp_path, "node1", event(second, "b"))
    log = EventLog(tmp_path)
    first = log.read()
    size = sum(p.stat().st_size for p in tmp_path.iterdir())
    assert (counted.opened, counted.bytes) == (2, size) and names(first) == "ab" * 50
    assert log.read() == first and (counted.opened, counted.bytes) == (2, size)
    write(tmp_path, "node1", event(55, "c"))
    assert names(log.read()) == "ab" * 50 + "c" and counted.opened == 3
    assert counted.bytes == sum(p.stat().st_size for p in tmp_path.iterdir())


def test_a_file_that_shrank_or_is_another_is_read_anew(tmp_path):
    log = EventLog(tmp_path)
    write(tmp_path, "", event(0, "a"), event(1, "b"), event(2, "c"))
    write(tmp_path, "node1", event(3, "d"))
    assert names(log.read()) == "abcd"
    lines = (tmp_path / MAIN).read_bytes().splitlines(keepends=True)
    (tmp_path / MAIN).write_bytes(lines[0])
    assert names(log.read()) == "ad"
    (tmp_path / "other").write_bytes(b"".join(lines))
    os.replace(tmp_path / "other", tmp_path / MAIN)
    assert names(log.read()) == "abcd"
    (tmp_path / events_file_of("node1")).unlink()
    assert names(log.read()) == "abc"
    (tmp_path / MAIN).unlink()
    assert log.read() == []


def test_however_it_grows_the_log_is_what_is_read_at_once(tmp_path):
    draw = random.Random(7)
    log, moments = EventLog(tmp_path), dict.fromkeys(("", "node1", "node2"), 0)
    for number in range(200):
        host = draw.choice(list(moments))
        moments[host] = max(0, moments[host] + draw.choice([-1, 0, 0, 1, 1]))
        write(tmp_path, host, event(min(moments[host], 59), f"{host}-{number} "))
        if draw.random() < 0.7:
            assert log.read() == read_events(tmp_path), number
