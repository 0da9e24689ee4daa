"What `make gpu` tells of steps, whatever becomes of one; the whole dry run is tests/slow/test_gpu.py"

import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.places import ROOT

PUBLISHED = ROOT / "reports" / "benchmarks.md"


@pytest.fixture
def script(monkeypatch):
    "A function that loads a script of .ci as a module"
    monkeypatch.syspath_prepend(str(ROOT / ".ci"))

    def load(name):
        spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def gpu(script):
    return script("gpu")


STEPS = """
import json, sys, time

def tell(what, **more):
    print("noise of a library")
    print("ROW " + json.dumps(dict(what=what, measured="3") | more), flush=True)

name = sys.argv[1]
tell(f"{name}, first", aim="2", reached=True)
if name == "breaks":
    raise ValueError("no such | kernel")
if name == "hangs":
    time.sleep(600)
tell(f"{name}, last")
"""

NUMBER = """
import json, os
print("ROW " + json.dumps(dict(what="process", measured=str(os.getpid()))), flush=True)
"""


def is_running(number):
    "Whether there is a process of this number that has not ended"
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def take(gpu, folder, names, seconds=600):
    script = folder / "steps.py"
    script.write_text(STEPS)
    table = gpu.Table("a card", dry_run=False, out=folder / "out")
    steps = [gpu.Step(name, 1 if name == "hangs" else 60) for name in names]
    gpu.take(steps, table, time.monotonic() + seconds, dict(os.environ), script)
    return table


def test_a_step_that_fails_or_hangs_is_a_row_and_the_next_one_goes_on(gpu, tmp_path, capsys):
    table = take(gpu, tmp_path, ["breaks", "hangs", "works"])
    told = [(row.step, row.what, row.reached) for row in table.rows]
    assert told == [
        ("breaks", "breaks, first", True),
        ("breaks", "failed", False),
        ("hangs", "hangs, first", True),
        ("hangs", "stopped", False),
        ("works", "works, first", True),
        ("works", "works, last", None),
        ("works", "time of the step", None),
    ]
    assert table.failed == ["breaks", "hangs"]
    assert table.rows[1].measured == "exit code 1: ValueError: no such | kernel"
    out = capsys.readouterr().out
    assert "noise" not in out
    assert out.splitlines()[:3] == [
        *gpu.HEAD.splitlines(),
        "| breaks | breaks, first | 3 | 2 | yes |",
    ]
    assert "| breaks | failed | exit code 1: ValueError: no such / kernel | ends | no |" in out


def test_a_run_that_is_ended_ends_its_step(gpu, tmp_path):
    script = tmp_path / "steps.py"
    script.write_text(NUMBER + STEPS)
    rows = gpu.rows_of(
        gpu.Step("hangs", 60), [sys.executable, "-u", str(script), "hangs"], dict(os.environ), 60
    )
    number = int(next(rows).measured)
    rows.close()
    deadline = time.monotonic() + 20
    while is_running(number) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(number)


def test_what_is_told_is_written_after_each_row(gpu, tmp_path):
    table = gpu.Table("not named", dry_run=False, out=tmp_path)
    published = PUBLISHED.read_text(encoding="utf-8")
    for row in (gpu.Row("card", "card", "NVIDIA H100"), gpu.Row("kobart", "speed", "7", "5", True)):
        table.add(row)
        content = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
        assert content["device"] == "NVIDIA H100" and len(content["rows"]) == len(table.rows)
        text = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
        before, section = gpu.split_section(text)
        assert before.rstrip() == gpu.split_section(published)[0].rstrip()
        assert text.count(gpu.HEADING) == 1 and section == table.section()
    assert section.splitlines()[2].startswith("NVIDIA H100, 20")
    assert section.splitlines()[-1] == "| kobart | speed | 7 | 5 | yes |"


def test_a_run_that_measures_no_model_leaves_the_table_of_an_earlier_one(gpu, tmp_path):
    gpu.Table("a card", dry_run=False, out=tmp_path).add(gpu.Row("kobart", "speed", "7"))
    earlier = (tmp_path / "gpu.json").read_bytes()
    table = gpu.Table("a card", dry_run=False, out=tmp_path)
    for row in (gpu.Row("card", "card", "NVIDIA H100"), gpu.Row("kobart", "failed", "no kernel")):
        table.add(row)
        assert (tmp_path / "gpu.json").read_bytes() == earlier
    table.add(gpu.Row("qwen3-4b", "speed", "6"))
    assert len(json.loads((tmp_path / "gpu.json").read_text())["rows"]) == 3


def test_what_no_time_is_left_for_is_told(gpu, tmp_path):
    table = take(gpu, tmp_path, ["works", "breaks"], seconds=0)
    assert [(row.step, row.what) for row in table.rows] == [("works", "not begun"), ("breaks", "not begun")]
    assert table.failed == ["works", "breaks"]


def test_the_steps_come_in_order_of_value_within_eight_minutes(gpu, monkeypatch, tmp_path):
    seen = {}

    def take(steps, table, deadline, env, script):
        seen.update(steps=[step.name for step in steps], left=deadline - time.monotonic(), env=env)

    monkeypatch.setattr(gpu, "take", take)
    monkeypatch.setattr(gpu, "has_gpu", lambda: True)
    arguments = SimpleNamespace(dry_run=False, wheels=None, out=tmp_path, minutes=8, only=None)
    assert gpu.main(arguments) == 0
    trained = ["qwen3-4b-lora", "kobart-full", "polyglot-qlora", "qwen3-4b-qlora"]
    assert seen["steps"][:7] == ["card", *trained, "qwen3-4b-static-cache", "qwen3-4b-compiled"]  # all aims
    assert seen["left"] <= 480
    assert seen["env"]["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)
    assert gpu.main(arguments.__class__(**vars(arguments) | dict(only=["tests"]))) == 0
    assert seen["steps"] == ["card", "tests"]  # the table names the card


def test_nothing_is_published_that_was_not_measured_on_a_gpu(gpu, monkeypatch, capsys):
    before = PUBLISHED.read_bytes()
    monkeypatch.setattr(gpu, "has_gpu", lambda: False)
    monkeypatch.setattr(gpu, "take", lambda *arguments: pytest.fail("steps are taken"))
    here = SimpleNamespace(dry_run=False, wheels=None, out=None, minutes=8, only=None)
    assert gpu.main(here) == 2 and "--dry-run" in capsys.readouterr().err
    dry = SimpleNamespace(**vars(here) | dict(dry_run=True, out=PUBLISHED.parent))
    assert gpu.main(dry) == 2 and "--out" in capsys.readouterr().err
    monkeypatch.setattr(gpu, "has_gpu", lambda: True)
    for out in (None, PUBLISHED.parent):
        some = SimpleNamespace(**vars(here) | dict(only=["tests"], out=out))
        assert gpu.main(some) == 2 and "--out" in capsys.readouterr().err
    assert PUBLISHED.read_bytes() == before
    assert "dry run" in gpu.Table("a CPU", dry_run=True, out=None).section()


def test_the_benchmarks_keep_what_they_have_not_written(script, monkeypatch, tmp_path):

    def execute_notebook(notebook, copy, parameters, **options):
        ratio = dict(what="w", against="a", times=2.0, low=1.0, high=3.0, wanted=None, note="")
        with open(parameters["result"], "w") as file:
            json.dump([] if notebook.stem == "commands" else [ratio], file)

    monkeypatch.setitem(sys.modules, "papermill", SimpleNamespace(execute_notebook=execute_notebook))
    bench = script("bench")
    monkeypatch.setattr(bench, "machine", lambda: "a machine")
    section = "## On a GPU\n\nA card, a day.\n\n| step |\n| --- |\n| scores | not a line of a notebook |\n"
    remarks = "## Not reached\n\nThree times were wanted.\n"
    table = tmp_path / "table.md"
    table.write_text(
        f"# Old\n\n| engines | w (of another day) | a | 1 | 1 | – | a machine, 2026-01-01 |\n| engines | w | of another one | 1 | 1 | – | a machine, 2026-01-01 |\n| engines | w (there) | a | 1 | 1 | – | the other, 2026-01-01 |\n| scores | kept |\n| commands | kept | a | 1 | 1 | – | a machine, 2026-01-01 |\n\n{remarks}\n{section}",
        encoding="utf-8",
    )
    for _ in range(2):
        assert bench.main(["engines", "commands"], table) == 0
        text = table.read_text(encoding="utf-8")
        assert text.endswith(f"\n\n{remarks}\n{section}") and text.count("## On a GPU") == 1
        assert text.count("| engines | w | a |") == 1 and "another day" not in text
        assert (
            text.count("| engines | w | of another one |") == text.count("| engines | w (there) | a |") == 1
        )
        assert text.count("| commands | kept |") == 1  # nothing was measured now
        assert text.count("| scores |") == 2  # a ratio that was kept, and a row of the section


def test_wheels_are_parted_cut_and_joined_again(script, tmp_path):
    wheels = script("wheels")
    whole = tmp_path / "fresh"
    whole.mkdir()
    contents = {f"p{size}-1-py3-none-any.whl": os.urandom(size) for size in (3, 40, 55, 99, 100, 350)}
    for name, content in contents.items():
        (whole / name).write_bytes(content)
    wheels.split(sorted(whole.iterdir()), tmp_path / "parts", most=100)
    parts = sorted((tmp_path / "parts").iterdir())
    sizes = [sum(path.stat().st_size for path in part.iterdir()) for part in parts]
    assert sum(sizes) == sum(map(len, contents.values())) and max(sizes) < 100
    joined = wheels.join_pieces(tmp_path / "parts", tmp_path / "joined")
    assert {path.name: path.read_bytes() for path in joined} == contents


def test_parts_that_did_not_travel_are_named(script, tmp_path):
    wheels, gpu = script("wheels"), script("gpu")
    assert wheels.missing_files(tmp_path) == ["wheels.json"]
    for part in ("part1", "part2"):
        (tmp_path / part).mkdir()
        (tmp_path / part / f"{part}-1-py3-none-any.whl").write_bytes(b"wheel")
    note = dict(key=wheels.key(), files=wheels.sizes(tmp_path))
    for part in ("part1", "part2"):  # each knows of all
        (tmp_path / part / "wheels.json").write_text(json.dumps(note))
    assert wheels.missing_files(tmp_path) == []
    (tmp_path / "part2" / "old-1-py3-none-any.whl").write_bytes(b"of an earlier collection")
    joined = wheels.join_pieces(tmp_path, tmp_path / "joined")
    assert sorted(path.name for path in joined) == sorted(note["files"])
    (tmp_path / "part2" / "wheels.json").unlink()
    (tmp_path / "part2" / "part2-1-py3-none-any.whl").unlink()
    with pytest.raises(SystemExit, match="lacks part2-1-py3-none-any.whl"):
        gpu.install(tmp_path, tmp_path, gpu.Table("a card", dry_run=False, out=None))


def test_wheels_that_cannot_be_installed_are_a_row(script, tmp_path):
    wheels, gpu = script("wheels"), script("gpu")
    folder = tmp_path / "whl" / "part1"
    folder.mkdir(parents=True)
    (folder / "torn-1-py3-none-any.whl").write_bytes(b"no wheel")
    note = dict(key=wheels.key(), files=wheels.sizes(folder.parent))
    (folder.parent / "wheels.json").write_text(json.dumps(note))
    table = gpu.Table("a card", dry_run=False, out=tmp_path / "out")
    gpu.install(folder.parent, tmp_path / "site", table)
    [row] = table.rows
    assert (row.step, row.what, row.reached) == ("wheels", "failed", False) and "torn" in row.measured
    assert table.failed == ["wheels"]


def test_wheels_are_collected_once_and_only_what_is_lacking(script, monkeypatch, tmp_path):
    wheels = script("wheels")
    downloads = []

    def download(requirement, folder):
        downloads.append(wheels.normal(requirement.name))
        path = folder / f"{downloads[-1]}-1-py3-none-any.whl"
        path.write_bytes(downloads[-1].encode())
        return path

    needs = {"papermill": ["nbclient", "tqdm", "pywin32; sys_platform == 'win32'"], "nbclient": ["papermill"]}
    monkeypatch.setattr(wheels, "download", download)
    monkeypatch.setattr(wheels, "needs", lambda wheel: needs.get(wheel.name.rsplit("-", 4)[0], []))
    folder = tmp_path / "whl"
    assert wheels.main(folder) == 0
    assert {"bitsandbytes", "peft", "rapidfuzz", "python-mecab-ko", "papermill", "nbclient"} <= {*downloads}
    assert len(downloads) == len({*downloads}) and not {"torch", "tqdm", "pywin32", "kiwipiepy"} & {
        *downloads
    }
    count = len(downloads)
    assert wheels.main(folder) == 0 and len(downloads) == count
    next(folder.rglob("peft*.whl")).unlink()
    assert wheels.main(folder) == 0 and len(downloads) == 2 * count


def test_numbers_on_a_benchmarks_command_line_are_numbers(script):
    typed = script("bench").typed
    assert [typed(value) for value in ("32", "0.5", "dev.csv", "")] == [32, 0.5, "dev.csv", ""]
