"What a failure is called each time, where it was seen before, what mended it, and what is tried once"

import io
import json
import sys

import pytest
from support.experiments import NO_MEMORY, NO_MEMORY_TRACE, at
from support.resume import single_model_options

from dialsum.checks.fingerprints import failure_fingerprint, fingerprints_of, news, normalised
from dialsum.checks.history import good_log, mend_of, past_runs, sightings
from dialsum.commands.advice import advice_of, note_advice
from dialsum.pipeline.process import run_stage
from dialsum.pipeline.spec import StageSpec
from dialsum.runs.attempts import failed_attempts, keep_failure, keep_good_log, last_good_log
from dialsum.runs.error_facts import make_error
from dialsum.runs.errors import DialsumError
from dialsum.runs.events import log_event, read_events
from dialsum.runs.facts import experiment_record, make_fact, read_fact, write_fact
from dialsum.runs.files import to_json
from dialsum.runs.folders import new_run

# what differs from run to run


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("2026-11-20 10:15:00,123 saved", "2025-01-02T03:04:05Z saved"),
        ("took 0:12:31", "took 1:02:03"),
        ("reads /home/kim/a.csv twice", "reads /mnt/b/c/d.csv twice"),
        ("reads 'C:\\Users\\kim lee\\a.csv'", "reads '/data/of us/a.csv'"),
        ("kobart/train.ipynb is whole", "qwen3-4b/fold2/train.ipynb is whole"),
        ("<Styler object at 0x7f61af54>", "<Styler object at 0x7fe07b10cc>"),
        ("commit 3f2a9c1d77", "commit 0b1c2d3e4f5a"),
        ("id 123e4567-e89b-12d3-a456-426614174000", "id 00000000-e89b-12d3-a456-426614174fff"),
        ("loss 2.31, lr 5e-05", "loss 11, lr 1.0"),
        ("\x1b[31mfailed\x1b[0m  twice", "failed twice"),
        (" 1%|▏    | 1/100\r 12%|█▎   | 12/100", " 97%|█████| 97/100"),
        ("https://a.example/x?y=1 answered", "http://b.example/z answered"),
    ],
)
def test_what_differs_from_run_to_run_is_taken_out(line, other):
    assert normalised(line) == normalised(other)


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("loading kobart", "loading qwen"),
        ("expected Half but found Float", "expected Float but found Half"),
        ("10 rows and more", "10 rows or more"),
        ("deadbeef is a word, added is another", "faded is a word, added is another"),
    ],
)
def test_what_somebody_wrote_stays(line, other):
    assert normalised(line) != normalised(other)


def test_a_long_line_takes_no_longer_than_a_short_one():
    for text in (
        "/" * 10**6,
        "a.b-" * 10**6,
        "0-1:" * 10**6,
        "'/" + "x" * 10**6,
        "a1" * 10**6,
        "[▏█" * 10**6,
    ):
        assert len(normalised(text)) <= 4000


# news


def test_news_is_what_a_good_log_does_not_say():
    good = ["Executing Cell 1---", "loss 2.31", "saved /a/b", "Ending Cell 1---"]
    bad = ["Executing Cell 1---", "loss 9", "", "17 18", "ValueError: x", "loss 10", "ValueError: x", "bye"]
    told = news(bad, good)
    assert [(line.number, line.text) for line in told.first] == [(5, "ValueError: x"), (8, "bye")]
    assert told.count == 2 and told.complete
    assert news(bad, good, limit=1).first == told.first[:1] and news(bad, good, limit=1).count == 2
    assert news(good, good).count == news([], good).count == 0 and news(good, []).count == 4


def test_news_of_a_long_log_take_little_memory(monkeypatch):
    monkeypatch.setattr("dialsum.checks.fingerprints._MOST_FORMS", 3)
    words = ("ab", "cd", "ef", "gh", "ij", "kl", "mn", "op")
    assert not news(["zz"], words).complete and news(["zz"], words[:1]).complete
    assert news(words, []).count == len(words)


# fingerprints


def test_a_failure_has_the_same_name_each_time_and_another_has_another():
    site = "/opt/lib/python3.11/site-packages/torch/nn/modules/linear.py:134 in forward"
    name = failure_fingerprint(
        "", "my.errors.OddError", "row 3 of '/a/b.csv' is odd", ["/u/t.py:3 in f", site]
    )
    assert name == failure_fingerprint(
        "unknown", "OddError", "row 91 of '/mnt/c.csv' is odd\nmore", ["/home/t.py:7 in f", site, site]
    )
    others = [
        failure_fingerprint("", "EvenError", "row 3 of '/a/b.csv' is odd", ["/u/t.py:3 in f"]),
        failure_fingerprint("", "OddError", "row 3 of '/a/b.csv' is even", ["/u/t.py:3 in f"]),
        failure_fingerprint("", "OddError", "row 3 of '/a/b.csv' is odd", ["/u/t.py:3 in g"]),
        failure_fingerprint("", "OddError", "row 3 of '/a/b.csv' is odd", [site]),
    ]
    assert len({name, *others}) == 5 and name.startswith("OddError-")
    assert failure_fingerprint("disk-full", "OSError", "[Errno 28]") == "disk-full"
    assert failure_fingerprint("dialsum-refusal", "DialsumError", "no") != "dialsum-refusal"


def test_an_error_of_ours_is_known_by_its_entry_or_its_sentence():
    def finding(name):
        return dict(code="unknown_name", fields=dict(kind="metric", name=name, known=["mean"]))

    findings = dict(findings=[finding("a"), finding("b"), finding("a")])
    assert len(fingerprints_of(make_error("preflight", "Finding", "preflight_found", findings))) == 2
    limit = make_error(
        "timeout", "TimeLimit", "time_limit_exceeded", dict(part="x", seconds=3, option="load_timeout")
    )
    assert fingerprints_of(limit) == ("dialsum-time-limit",)


# what attempts leave


def attempt(run, status, message="", kind="exception", **more):
    "Write the fact of kobart's training as a stage does; more: of `make_fact`"
    path = run / "kobart" / "train.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    error = make_error(kind, "RuntimeError", text=message) if status == "failed" else None
    return write_fact(run, path, make_fact(run, "train", status, "kobart", error=error, **more)), path


def test_each_failure_is_kept_and_nothing_else(tmp_path):
    run = new_run("mine", {}, tmp_path)
    for i in range(11):
        _, path = attempt(run, "failed", f"number {i}", started=at(i))
        keep_failure(run, path)
        assert not path.exists()
    names = {p.name for p in (run / "errors").iterdir()}
    assert names == {f"kobart_train.{i}.json" for i in range(1, 12)}
    assert {a.fact.error.message for a in failed_attempts(run)} == {f"number {i}" for i in range(11)}
    for status, kind in (("failed", "interrupted"), ("blocked", "blocked"), ("success", "")):
        _, path = attempt(run, status, "x", kind)
        keep_failure(run, path)
        assert path.is_file()
    path.write_text("{")
    keep_failure(run, path)
    keep_good_log(path)
    keep_failure(run, run / "nosuch.json")
    assert path.is_file() and {p.name for p in (run / "errors").iterdir()} == names


def test_a_stage_that_runs_again_keeps_what_it_would_write_over(tmp_path, monkeypatch):
    run = new_run("mine", {}, tmp_path)
    spec = StageSpec(run, "train", "kobart", dict(scale="replica"))
    outcomes = []

    def act(spec, *_):
        status = outcomes.pop(0)
        (spec.folder / "train.log").write_text(f"{status}\n")
        if status == "success":
            attempt(run, "success", params=spec.all_params, attempt=spec.attempt)
        return 0 if status == "success" else 1

    monkeypatch.setattr("dialsum.pipeline.process._run_process", act)
    outcomes += ["died", "success"]
    assert run_stage(spec).status == "failed" and run_stage(spec).succeeded
    [former] = failed_attempts(run)
    assert former.fact.error.code == "stage_exited" and former.path.parent.name == "errors"
    spec.params["epochs"] = 2
    outcomes += ["died"]
    assert not run_stage(spec).succeeded
    assert last_good_log(spec.fact).read_text() == "success\n"
    assert (spec.folder / "train.log").read_text() == "died\n"
    assert good_log(spec.fact, read_fact(spec.fact), past_runs(tmp_path)) == last_good_log(spec.fact)


# what mended it


def experiment(tmp_path, name, **more):
    run = tmp_path / name
    run.mkdir()
    record = dict(schema=2, experiment=name, created=at(0), options=dict(models=["kobart"])) | more
    (run / "experiment.json").write_text(to_json(record))
    return run


def timed(run, start, status, **more):
    fact, path = attempt(run, status, NO_MEMORY, **more)
    content = fact.to_dict() | dict(started=at(start), finished=at(start + 5))
    path.write_text(json.dumps(content))
    return path


def test_what_mended_a_failure_is_what_differed(tmp_path):
    attempts = [
        dict(time=at(7), command="dialsum resume", changed=dict(workers=[2, 1], batch_size=[8, 4]), left={})
    ]
    run = experiment(tmp_path, "1_first", attempts=attempts)
    keep_failure(run, timed(run, 1, "failed", params=dict(run=str(run), batch_size=8, seed=1)))
    timed(run, 10, "success", params=dict(run="/elsewhere", batch_size=4, seed=1))
    other = experiment(tmp_path, "2_second")
    path = timed(other, 20, "failed", params=dict(batch_size=8))
    past = past_runs(tmp_path)
    [name] = fingerprints_of(read_fact(path).error)
    sighting, _ = sightings(name, past)
    assert (sighting.run, sighting.key) == (run, "kobart/train")
    assert list(map(str, sighting.mend.changes)) == ["--batch-size 8 → 4", "--workers 2 → 1"]
    assert mend_of(other, read_fact(path), past) is None  # that success was before
    assert [s.run.name for s in sightings(name, past)] == ["1_first", "2_second"]  # the mended one first
    assert sightings("disk-full", past) == []


def test_another_experiment_may_have_mended_it_and_another_model_does_not(tmp_path):
    run = experiment(tmp_path, "1_first")
    path = timed(run, 1, "failed", params=dict(epochs=3))
    later = experiment(tmp_path, "2_second")
    timed(later, 30, "success", params=dict(epochs=3))
    mend = mend_of(run, read_fact(path), past_runs(tmp_path))
    assert mend.run == later and mend.changes == ()
    fact = json.loads((later / "kobart" / "train.json").read_text())
    versions = fact["environment"] | dict(packages=fact["environment"]["packages"] | dict(torch="9.9"))
    (later / "kobart" / "train.json").write_text(json.dumps(fact | dict(environment=versions)))
    [change] = mend_of(run, read_fact(path), past_runs(tmp_path)).changes
    assert change.name == "torch" and change.since == "9.9"
    (later / "kobart" / "train.json").write_text(json.dumps(fact | dict(model="qwen3-4b")))
    assert mend_of(run, read_fact(path), past_runs(tmp_path)) is None


# advice


@pytest.fixture
def failed(build, tmp_path):
    "An experiment of one model, whose training has found no memory with eight rows at once"
    (tmp_path / "reports").mkdir()
    run, leave = build(**single_model_options(tmp_path), batch_size=8)
    leave(
        "train",
        "kobart",
        "failed",
        start=5,
        message=NO_MEMORY,
        traceback=NO_MEMORY_TRACE,
        folder="kobart",
        params=dict(batch_size=8, scale="replica"),
    )
    path = run / "kobart" / "train.json"
    write_fact(run, path, read_fact(path))  # so that it is believed
    return run


@pytest.fixture
def plans(monkeypatch):
    "The options of plans that `resume` would execute"
    asked = []

    def keep(request, *_):
        asked.append(request.options)
        return 0

    monkeypatch.setattr("dialsum.commands.experiments._execute", keep)
    return asked


HALF = "--batch-size 4 --gradient-accumulation-steps 2"


def test_the_advice_is_the_first_complete_way_and_is_given_once(failed):
    [advice] = advice_of(failed)
    assert (
        advice.options == HALF and advice.keys == ["kobart/train"] and advice.fingerprints == ("memory-cuda",)
    )
    assert advice.to_dict()["advice"] == "again" and HALF in advice.to_dict()["command"]
    note_advice(failed, [advice])
    [again] = advice_of(failed)
    assert again.to_dict()["advice"] == "stop" and HALF in str(again.reason)
    with pytest.raises(DialsumError, match="kobart/train"):
        note_advice(failed, [advice])
    assert [e["options"] for e in read_events(failed) if e["event"] == "advice"] == [HALF]


@pytest.mark.parametrize(
    "kind", ["api-key", "quantization-missing", "peft-config-missing", "dialsum-preflight"]
)
def test_what_somebody_has_to_do_first_is_no_advice(kind, failed):
    path = failed / "kobart" / "train.json"
    fact = json.loads(path.read_text())
    fact["error"]["diagnosis"] = kind
    path.write_text(json.dumps(fact))
    [advice] = advice_of(failed)
    assert advice.way is None and str(advice.reason).startswith("stop")


def test_a_fact_of_an_older_catalogue_has_one_name(failed, typed):
    path = failed / "kobart" / "train.json"
    fact = json.loads(path.read_text())
    fact["error"] |= dict(diagnosis="", cause=None, remedy=None)
    path.write_text(json.dumps(fact))
    [advice] = advice_of(failed)
    assert advice.fingerprints == ("memory-cuda",) and advice.options == HALF
    [group] = json.loads(typed("diagnose", failed, "--json").stdout)
    assert group["kind"] == "memory-cuda" and group["fingerprints"] == ["memory-cuda"]
    assert group["advice"]["options"] == HALF


def test_a_way_that_begins_with_another_command_is_no_advice(build, tmp_path):
    started = single_model_options(tmp_path, checkpoints=dict(kobart="/weights"))
    run, leave = build(**started)
    leave("train", "kobart", "failed", message="incomplete metadata", folder="kobart")
    path = run / "kobart" / "train.json"
    fact = json.loads(path.read_text())
    fact["error"]["diagnosis"] = "checkpoint-truncated"
    path.write_text(json.dumps(fact))
    [advice] = advice_of(run)
    assert advice.cause.before and advice.cause.ways[0].options and advice.way is None


def test_an_interruption_needs_no_advice(failed):
    path = failed / "kobart" / "train.json"
    fact = json.loads(path.read_text())
    fact["error"] |= dict(kind="interrupted", diagnosis="run-interrupted")
    path.write_text(json.dumps(fact))
    assert advice_of(failed) == []


def test_a_try_that_cannot_be_noted_is_not_made(failed, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", refuse)
    log_event(failed, "beat")
    with pytest.raises(OSError, match="No space"):
        log_event(failed, "advice", fingerprints=["x"], options="")


def test_resume_follows_an_advice_once(failed, plans, typed):
    done = typed("resume", failed, "--advice", "--yes")
    assert done.returncode == 0 and HALF in done.stderr, done.stderr
    assert [(o["batch_size"], o["gradient_accumulation_steps"]) for o in plans] == [(4, 2)]
    assert experiment_record(failed).attempts[-1].changed["batch_size"] == [8, 4]
    done = typed("resume", failed, "--advice", "--yes")
    assert done.returncode == 1 and "stop" in done.stderr and len(plans) == 1


def test_stages_that_run_again_though_told_to_stop_are_named_first(failed, plans, typed, monkeypatch):
    path = failed / "kobart" / "train.json"
    fact = read_fact(path)
    error = make_error("exception", "OddError", text="nobody has met this")
    other = make_fact(failed, "predict", "failed", "kobart", error=error)
    write_fact(failed, failed / "kobart" / "predict.json", other)
    assert fact.error and [bool(a.way) for a in advice_of(failed)] == [True, False]
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    done = typed("resume", failed, "--advice")
    assert done.returncode == 2 and "run again, too" in done.stderr and not plans
    [line] = [line for line in done.stderr.splitlines() if "run again, too" in line]
    assert "kobart/predict" in line and "kobart/train" not in line


def test_what_is_typed_wins_over_the_advice(failed, plans, typed):
    assert typed("resume", failed, "--advice", "--yes", "--batch-size", "2").returncode == 0
    assert (plans[0]["batch_size"], plans[0]["gradient_accumulation_steps"]) == (2, 2)


@pytest.mark.parametrize(("answer", "runs"), [("y\n", 1), ("n\n", 0), ("", 0)])
def test_at_a_terminal_it_asks(answer, runs, failed, plans, typed, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    done = typed("resume", failed, "--advice")
    assert "[y/N]" in done.stderr and len(plans) == runs and done.returncode == 1 - runs
    assert len([e for e in read_events(failed) if e["event"] == "advice"]) == runs


def test_elsewhere_it_needs_a_yes(failed, plans, typed, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    done = typed("resume", failed, "--advice")
    assert done.returncode == 2 and "give --yes as well" in done.stderr and not plans
    done = typed("resume", failed, "--yes")
    assert done.returncode == 2 and "give --advice as well" in done.stderr and not plans
