"What the tests of report share"

import re

from support.experiments import metrics, scored

from dialsum.report.document import SECTIONS, write_report
from dialsum.report.experiment import Experiment, read_experiment
from dialsum.report.sections.first_screen import section_first_screen
from dialsum.report.sections.next_steps import every_step
from dialsum.scores.summary_errors import FAULTS


def write(run, tmp_path, name="reports"):
    return [
        (p.relative_to(tmp_path / name).as_posix(), p.read_bytes())
        for p in write_report(run, tmp_path / name)
    ]


def cells(line):
    "The cells of a table's line, as GitHub splits it: a backslash takes the next character with it"
    return re.findall(r"(?:\\.|[^|\\])*", line.strip()[1:-1])[::2] if line.strip() else []


def outside_code(md):
    return re.sub(r"^(`{3,}).*?^\1$", "", md, flags=re.S | re.M)


def overview_parts(run):
    return (
        section_first_screen(e := read_experiment(run)),
        SECTIONS["scores"](e).split("### 모델 사이의 차이")[1].split("\n### ")[0],
        every_step(e),
    )


def advice(
    build,
    *kinds,
    fitted=None,
    ratio=1.0,
    data=None,
    quality=None,
    stopped=False,
    scale="full",
    losses=(7.4, 7.3, 7.2),
    decoding=None,
    **params,
):
    "What a report advises of a model whose summaries have faults of these kinds"
    run, leave = build(models=["kobart"])
    leave(
        "data",
        found=metrics("data")
        | (
            dict(quality=dict(kinds=quality, dropped=0, threshold=0.8, worst=[], rows=64, parts={}))
            if quality is not None
            else {}
        ),
        params=data,
    )
    train, evaluations = (
        metrics("train"),
        [dict(epoch=i, step=8 * i, loss=loss) for i, loss in enumerate(losses, 1)],
    )
    leave(
        "train",
        "kobart",
        found=train
        | dict(
            evaluations=evaluations,
            best=evaluations[0],
            scale=scale,
            recipe=train["recipe"] | dict(epochs=9 if stopped else 3),
        ),
        params={k: v for k, v in params.items() if k == "new_tokens"},
    )
    faults = dict(
        rows=16, faulty=16, kinds={k: dict(count=8 * (k in kinds), references=0, examples=[]) for k in FAULTS}
    )
    leave(
        "evaluate",
        "kobart",
        found=dict(
            split=scored(40.0, lead2=60.0, length_ratio=ratio),
            faults=faults,
            fitted=fitted,
            decoding=decoding,
            scale=scale,
        ),
        params=params,
    )
    e = read_experiment(run)
    return every_step(Experiment(e.name, e.record, [f for f in e.facts if f.stage != "predict"]))
