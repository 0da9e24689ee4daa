"What the preflight says of a run before it starts, and what is said of a model that it stops"

import shutil

import pytest

from dialsum.checks.finding import Finding
from dialsum.checks.metrics import FindingRecord
from dialsum.models.cards import CARDS, card
from dialsum.models.replicas import replica
from dialsum.pipeline.plan import plan_stages
from dialsum.pipeline.scheduler import run_plan
from dialsum.report.document import render
from dialsum.report.experiment import read_experiment
from dialsum.runs.error_facts import error_sentence
from dialsum.runs.folders import new_run


@pytest.mark.slow
def test_the_cause_of_a_stopped_model_is_what_is_wrong_and_names_the_file(tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(replica(card("qwen3-4b")), broken)
    (broken / "model.safetensors").write_bytes(b"\xff\x00")
    run = new_run("stopped", dict(models=["qwen3-4b"], scale="replica"), tmp_path / "runs")
    specs = plan_stages(
        run, ["qwen3-4b"], dict(scale="replica"), False, {"qwen3-4b": str(broken)}, rehearse=False
    )
    ended = run_plan([s for s in specs if s.stage in ("preflight", "data", "train")], say=lambda line: None)
    error = ended["qwen3-4b/train"].error
    assert ended["preflight"].status == "success" and error.kind == "preflight"
    assert "'model.safetensors' is cut off inside its header" in error_sentence(error)
    assert (
        error.cause == "`model.safetensors` 파일이 헤더 중간에서 끊겼습니다."
        and error.remedy == "다시 내려받으십시오."
    )
    told = render(read_experiment(run))
    before, *_ = told.partition("## 사전 점검")  # whose table says what would happen
    assert "`model.safetensors` 파일이 헤더 중간에서 끊겼습니다" in before
    assert "불러오기를 시작하고 몇 분 뒤" not in before


@pytest.mark.parametrize(
    ("found", "cause"),
    [
        (
            Finding.warning("no_pad_token", "tokenizer_config.json"),
            "패딩 토큰이 없습니다 (`tokenizer_config.json`)",
        ),
        (
            Finding.error("shard_missing", "a.safetensors", shard="a.safetensors"),
            "`a.safetensors` 샤드가 없습니다",
        ),
        (
            Finding.error("rehearsal_stopped", "rehearsal, training", type="OSError", text="no room"),
            "`OSError: no room` (`rehearsal, training`)",
        ),
    ],
)
def test_a_cause_names_the_file_or_part_once(found, cause):
    from dialsum.pipeline.scheduler import _cause_of

    assert _cause_of(found) == cause


def rows_of(count):
    import pandas as pd

    return pd.DataFrame(
        dict(
            fname=[f"r{i}" for i in range(count)],
            dialogue=[f"#Person1#: {i}시에 만나요.\n#Person2#: 네." for i in range(count)],
            summaries=[("#Person1#은 만나자고 한다.",)] * count,
            topic=[""] * count,
        )
    )


@pytest.mark.parametrize(
    ("rows", "options", "count"),
    [
        (8, dict(epochs=1, batch_size=8), 1),
        (9, dict(epochs=1, batch_size=8), 2),
        (100, dict(epochs=3, batch_size=4, gradient_accumulation_steps=2), 39),
        (100, dict(epochs=3, batch_size=8, gradient_accumulation_steps=1), 39),
        (100, dict(epochs=2, batch_size=8, k_folds=5), 20),
        (50, dict(epochs=1, batch_size=16), 4),
    ],
)
def test_how_many_updates_there_will_be_is_known_and_few_are_a_warning(rows, options, count):
    from support.experiments import is_korean

    from dialsum.checks.outlook import MIN_UPDATES, check_updates, look_ahead

    outlook = look_ahead(card("kobart"), "full", options, None, dict(train=rows_of(rows)))
    assert outlook.updates == count and str(outlook).startswith(f"{count} updates ({options['epochs']} epoch")
    found = check_updates("full", outlook)
    assert bool(found) == (count < MIN_UPDATES) and not check_updates("replica", outlook)
    for f in found:
        assert f.severity == "warning" and f"{count} time" in f.what and is_korean(f)


def test_the_preflight_says_what_a_run_would_be(typed, tmp_path):
    import json

    from dialsum.scores.significance import detectable_difference

    words = (
        "preflight",
        "--models",
        "kobart",
        "qwen3-4b",
        "solar",
        "--scale",
        "replica",
        "--debug",
        "--runs",
        tmp_path,
    )
    told = json.loads(typed(*words, "--json").stdout)
    outlook = told["models"]["kobart"]["outlook"]
    assert (
        outlook["rows"] == 50
        and outlook["updates"] == 7
        and outlook["epochs"] == 1
        and "updates" in outlook["says"]
    )  # of the debug rows
    printed = typed(*words).stdout
    assert "kobart: 7 updates (1 epoch of 50 rows, 8 an update)" in printed
    assert (
        f"10 dev dialogues show a difference between two models from about {detectable_difference(10, comparisons=3):.1f} points"
        in printed
        and "with 3 pairs" in printed
    )
    one = typed("preflight", "--scale", "replica", "--runs", tmp_path).stdout
    assert f"from about {detectable_difference(16):.1f} points" in one and "pairs" not in one


def told_of(tmp_path, name="solar-10.7b", **options):
    from dialsum.checks.preflight import preflight

    return preflight([name], "full", options, {name: str(replica(card(name)))}, tmp_path)


def test_what_limits_cut_is_stated_for_each_model_in_its_own_tokens(tmp_path):
    from support.experiments import is_korean

    from dialsum.data.dialogues import read
    from dialsum.models.loading import load_tokenizer
    from dialsum.models.prompts import Codec
    from dialsum.runs.places import sample_path

    rows, c = read(sample_path() / "train.csv", summaries=True), card("solar-10.7b")
    codec = Codec(c, load_tokenizer(c, str(replica(c))), 1024)
    references = sorted(len(codec.target(s[0])) for s in rows["summaries"])
    limit = references[len(references) * 2 // 3]  # a third is longer
    share = sum(n > limit for n in references) / len(references)
    told = told_of(tmp_path, max_new_tokens=limit, max_target=512, max_source=1024)
    outlook = told.outlooks["solar-10.7b"]
    assert (
        outlook.cut["written"] == pytest.approx(share)
        and outlook.cut["learned"] == outlook.cut["dialogues"] == 0
        and 0.2 < share < 0.45
    )
    assert f"{100 * share:.0f} % more than the {limit} that are written" in str(told)
    [found] = [f for f in told.models["solar-10.7b"] if f.where == "max_new_tokens"]
    assert (
        found.severity == "warning"
        and f"{100 * share:.0f} % of the references have more than {limit} tokens" == found.what
    )
    assert is_korean(found)
    short = told_of(tmp_path, max_source=220, max_target=512, max_new_tokens=200)
    assert short.outlooks["solar-10.7b"].cut["dialogues"] > 0.05 and [
        f.where for f in short.models["solar-10.7b"] if "dialogues have more" in f.what
    ] == ["max_source"]


@pytest.mark.parametrize(
    ("words", "option", "most"),
    [
        (["--max-target", "2000"], "max_target", "1026"),
        (["--max-source", "5000"], "max_source", "1024"),
        (["--max-new-tokens", "1500", "--max-target", "1500"], "max_target", "1026"),
        (["--min-new-tokens", "1500"], "min_new_tokens", "1026"),
    ],
)
def test_a_length_beyond_one_models_positions_is_a_finding_of_that_model(
    words, option, most, typed, tmp_path
):
    "At full size, where memory is planned for"
    import json

    done = typed("preflight", "--models", "kobart", "qwen3-4b", *words, "--runs", tmp_path, "--json")
    models = json.loads(done.stdout)["models"]
    beyond = {
        m: [
            f
            for f in told["findings"]
            if (f["severity"] == "error" and f["why"] == "positions beyond do not exist")
            or f["where"] == option
        ]
        for m, told in models.items()
    }
    assert done.returncode == 1 and not done.stderr
    flag = "--" + option.replace("_", "-")
    assert any(flag in f["what"] and most in f["what"] + f["remedy"] for f in beyond["kobart"])
    assert not beyond["qwen3-4b"] and not [
        f for f in models["qwen3-4b"]["findings"] if f["where"] == "options"
    ]


@pytest.mark.parametrize(
    "options",
    [
        dict(top_p=0.9),
        dict(eval_batch_size=-1),
        dict(max_target=2000),
        dict(min_new_tokens=2000),
        dict(method="lorra"),
    ],
)
def test_memory_is_no_matter_of_options_that_are_told_elsewhere(options):
    from dialsum.checks.options import check_options
    from dialsum.checks.room import check_memory

    assert check_memory(card("kobart"), "full", options, available=2**40) == [] and check_options(
        card("kobart"), "full", options
    )


@pytest.mark.parametrize("name", CARDS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        dict(max_target=900),
        dict(max_target=1500),
        dict(max_target=4000),
        dict(max_source=1000, max_target=1000),
    ],
)
def test_memory_is_looked_at_wherever_the_options_may_be(name, options):
    from dialsum.checks.options import check_options
    from dialsum.checks.room import check_memory

    assert check_options(card(name), "full", options) or check_memory(
        card(name), "full", options, available=2**29
    )


def test_what_a_model_is_refused_for_is_its_own_finding(monkeypatch, tmp_path):
    "Whatever check raises"
    from dialsum.checks import preflight as preflight_module
    from dialsum.runs.errors import DialsumError

    def refuse(c, *args, **kwargs):
        if c.name == "kobart":
            raise DialsumError("one_row_too_many")
        return []

    monkeypatch.setattr("dialsum.checks.preflight.check_memory", refuse)
    found = preflight_module.preflight(["kobart", "qwen3-4b"], "replica", runs=tmp_path)
    assert (
        not found.ok("kobart")
        and found.ok("qwen3-4b")
        and [f.what for f in found.models["kobart"] if f.severity == "error"]
        == ["out of memory with one row at once"]
    )


def test_a_list_in_a_sentence_is_no_remedy(tmp_path, typed):
    import json

    from support.experiments import is_korean

    (tmp_path / "bare.csv").write_text("fname,talk: all\nx,y\n", encoding="utf-8")
    (tmp_path / "more.csv").write_text("fname,dialogue,summary,talk: all\nx,y,z,w\n", encoding="utf-8")
    more = [
        "--train-csv",
        tmp_path / "more.csv",
        "--dev-csv",
        tmp_path / "more.csv",
        "--test-csv",
        tmp_path / "more.csv",
        "--columns",
        "topic=subject",
    ]
    for words, what, remedy in (
        (more, "Their columns: fname, dialogue, summary, talk: all", "Name one of these, or leave it out"),
        (
            ["--train-csv", tmp_path / "bare.csv"],
            "Its columns: fname, talk: all",
            "If one of them is meant, say so: --columns",
        ),
    ):
        done = typed(
            "preflight", "--models", "kobart", "--scale", "replica", *words, "--runs", tmp_path, "--json"
        )
        [found] = [f for f in json.loads(done.stdout)["models"]["kobart"]["findings"] if f["where"] == "data"]
        assert what in found["what"] and found["remedy"].startswith(remedy), found
        assert is_korean(Finding.from_record(FindingRecord.of(**found))), found
