"""What the notebook of dialsum.report cannot say of itself: other people's text, missing facts, the same bytes, and mermaid's own parser"""

import re
import warnings

from support.experiments import HELL, fact_of, metrics, scored, whole
from support.mermaid import mermaid_blocks, parse
from support.report import advice, cells, outside_code, write

from dialsum.data.quality import DEFECTS
from dialsum.report.experiment import Step, read_experiment
from dialsum.report.figures import (
    FIGURES,
    draw_engines,
    draw_losses,
    draw_quality,
    draw_rouge,
    draw_scores,
    png,
)
from dialsum.report.labels import labels_of
from dialsum.report.stage_charts import gantt
from dialsum.report.texts import shortened


def tables(md):
    return [
        lines for block in outside_code(md).split("\n\n") if (lines := block.split("\n"))[0].startswith("|")
    ]


def test_what_is_left_to_do_is_advised(build):
    def after(name, *kinds, **done):
        return advice(lambda **options: build(name, **options), *kinds, **done)

    assert "`--repetition-penalty 1`" in after(
        "a", "broken_tag", repetition_penalty=1.2
    ) and "--repetition-penalty" not in after("b", "broken_tag", repetition_penalty=1.0)
    assert "기준을 올려" in after(
        "c",
        "invented_name",
        data=dict(validate_data_quality=True, quality_threshold=0.8),
        quality=dict(name=dict(train=2)),
    )
    assert (
        "--early-stopping-patience" in after("d", stopped=True)
        and "더 오래" not in after("e", stopped=True)
        and "`--epochs 5`" in after("f")
    )
    assert "--scale full" in after("g", scale="replica") and "--scale full" not in after("h")


def test_replicas_are_called_what_they_are(build, tmp_path):
    md = write(whole(build)[0], tmp_path)[0][1].decode()
    assert "축소 모형의 실행이므로 점수에는 뜻이 없습니다" in md.split("## 요청한 것")[0]
    run, leave = build("full", models=["kobart"], scale="full")
    leave("evaluate", "kobart", found=dict(split=scored(40.0), scale="full"))
    assert "축소 모형" not in write(run, tmp_path)[0][1].decode()


def test_failures_are_told_with_their_message(build, tmp_path):
    run, leave = build(models=["kobart", "qwen"], scale="replica")
    leave("data")
    leave("train", "kobart", "failed", message="first line\nsecond ``` line", kind="died", seconds=83)
    for stage in ("evaluate", "predict"):
        leave(
            stage,
            "kobart",
            "blocked",
            code="stage_blocked",
            fields=dict(stage=f"kobart/{stage}", missing="kobart/train"),
            kind="blocked",
        )
    md = write(run, tmp_path)[0][1].decode()
    assert (
        "````text\nfirst line\nsecond ``` line\n````" in md
        and "1분 23초" in md
        and "실험 폴더의 `errors/train.log`" in md
        and "프로세스가 비정상 종료됨" in md
    )
    assert (
        "이 실패로 실행되지 않은 단계는 KoBART 평가·예측입니다." in md and "### 실행되지 않은 단계" not in md
    )
    assert (
        "| KoBART | `gogamza/kobart-base-v2` | 인코더-디코더 | 축소 모형 | – | 실패(학습) |" in md
        and "| Qwen3-4B | `Qwen/Qwen3-4B-Instruct-2507` | 디코더 | 축소 모형 | – | 기록 없음(학습, 평가, 예측) |"
        in md
    )
    assert (
        "전체 8개 단계 가운데 성공 1개, 실패 1개, 미실행 2개, 기록 없음 4개입니다. 성공률은 12.5%입니다."
        in md
    )


# other people's text


def test_hostile_text_breaks_no_table_and_no_heading(hell, tmp_path):
    md = write(hell, tmp_path)[0][1].decode()
    for lines in tables(md):
        assert len({len(cells(line)) for line in lines}) == 1, lines
    plain = outside_code(md)
    headings = [line[3:] for line in plain.split("\n") if line.startswith("## ")]
    assert headings and set(headings) <= set(labels_of("section").values())
    assert len(re.findall("^# ", plain, re.M)) == 1
    plain = re.sub(r"(?<!\\)`[^`\n]*`", "", plain)
    assert plain.count("<details>") == plain.count("</details>") and not re.search(
        r"(?<!\\)<(?!/?(?:details|summary|b|ins)>)", plain
    )
    assert not re.search("[\0\x07\x1b\u2028\u202e]", md)
    assert not re.search(r"^(?:> ?)?(?:---|===)\s*$", plain.rsplit("\n---\n", 1)[0], re.M)


def test_figures_have_every_letter():
    names = [*HELL, "\U00013000", "\ud83d", "$\\frac{$"]
    engines = dict(
        rows=[
            dict(engine=name, batch_size=b, throughput=b / 2)
            for name in ("hf", "hf-bf16", "int8")
            for b in (1, 8, 32)
        ]
    )
    quality = dict(
        quality=dict(
            kinds={k: dict(train=3, dev=2, test=1) for k in DEFECTS}, parts=dict(train={}, dev={}, test={})
        )
    )
    found = {
        draw_losses: fact_of("train", metrics=metrics("train")),
        draw_rouge: fact_of("train", metrics=metrics("train")),
        draw_scores: fact_of("evaluate", metrics=dict(split=scored(40.0))),
        draw_engines: fact_of("optimize", metrics=engines),
        draw_quality: fact_of("data", metrics=quality),
    }
    assert set(found) == {draw for *_, draw in FIGURES.values()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for draw, fact in found.items():
            steps = [Step("", name, None, fact) for name in names]
            for some in (steps[:14], steps[14:28], steps[28:]):
                assert png(draw, some).startswith(b"\x89PNG")


# mermaid


def test_mermaid_itself_reads_every_diagram(build, hell, tmp_path):
    good, leave = build("good", models=["kobart", "qwen3-4b", "solar-10.7b", "kullm-v2"], scale="replica")
    leave("data")
    for i, m in enumerate(("kobart", "qwen3-4b", "solar-10.7b")):
        for stage in ("train", "evaluate", "predict"):
            leave(stage, m, start=10 * i, seconds=5)
    leave("submit", start=40)
    leave("train", "kullm-v2", "failed", start=50, seconds=9.0)
    blocks = mermaid_blocks(write(good, tmp_path)[0][1].decode()) + mermaid_blocks(
        write(hell, tmp_path)[0][1].decode()
    )
    paths = [b for b in blocks if "\nflowchart TD\n" in b]  # of errors
    bars, boxes, hell_bars, hell_boxes, broken, *errors = parse(
        [*(b for b in blocks if b not in paths), "flowchart LR\nA[KoBART (124M)]", *paths]
    )
    assert len(errors) > 2 and all(len(found["nodes"]) >= 2 and found["edges"] >= 1 for found in errors), (
        errors
    )
    assert "error" in broken  # the checker sees errors
    steps = read_experiment(good).steps
    assert (
        [t[:2] for t in bars["tasks"]][1] == ["KoBART", "학습 5.0초"]
        and len(bars["tasks"]) == len(steps) - 2
        and ["KULLM-v2", "학습 9.0초 · 실패", 9000, True] in bars["tasks"]
    )
    assert (
        len(boxes["nodes"])
        == 1 + 3 + 3 + 1  # data, a box for each good model, the stages of the other, submit
        and boxes["edges"]
        == 4 + 2 + 4  # from the data to each model, on in the failed one, to the submission
        and ["failed"] in [n[2] for n in boxes["nodes"]]
    )
    steps = read_experiment(hell).steps  # so many that the stages of a model stand together
    assert (
        len(hell_bars["tasks"]) == len(gantt(read_experiment(hell)).grouped) > 30
        and len(hell_boxes["nodes"]) == len({s.model or s.stage for s in steps}) > 30
    )
    names = {"".join(shortened(s.label or s.title).split()) for s in steps}
    shown = ["".join(re.sub("<br/?>", "", text).split()) for _, text, _ in hell_boxes["nodes"]]
    for name in names:
        assert sum(text.startswith(name) for text in shown), name
