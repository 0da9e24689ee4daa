"Stage notebooks as executed on a replica: beside each reference a sentence, and nowhere a text of the replica"

import json

import pandas as pd
import pytest

from dialsum.pipeline.examples import example_run
from dialsum.pipeline.process import run_stage
from dialsum.pipeline.spec import StageSpec
from dialsum.scores.shown_texts import shown_text

MODEL = "qwen3-4b"
TABLE = 5  # rows of `head`
SENTENCES = dict(train=TABLE, evaluate=TABLE + 3, predict=1, submit=TABLE, tta=2 * TABLE)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = example_run((MODEL,), runs=tmp_path_factory.mktemp("runs"), max_new_tokens=24)
    for spec in (
        StageSpec(folder, "tta", MODEL, dict(scale="replica", tta_strategies="synonym", tta_num_aug=1)),
        StageSpec(folder, "submit"),
    ):
        assert run_stage(spec).succeeded, spec.key
    return folder


def outputs(path) -> list[str]:  # of an executed notebook, each in the richest form that it has
    shown = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {"text/plain": output.get("text", "")})
            kinds = [kind for kind in ("text/html", "text/markdown", "text/plain") if kind in data]
            shown += ["".join(data[kind]) for kind in kinds[:1]]
    return shown


def notebook(run, stage):
    [path] = run.rglob(f"{stage}.ipynb")
    return path


@pytest.mark.parametrize("stage", SENTENCES)
def test_each_text_of_a_replica_gives_way_to_a_sentence(run, stage):
    text = "\n".join(outputs(notebook(run, stage)))
    assert text.count(shown_text("", "replica")) == SENTENCES[stage]


def test_no_text_of_a_replica_is_in_a_notebook(run):
    written = set()
    for path in run.rglob("predictions_*.csv"):
        written |= set(pd.read_csv(path, keep_default_na=False)["summary"])
    telling = {text for text in written if len(text) > 12}  # a shorter one may stand in a dialogue, too
    for path in run.rglob("*.ipynb"):
        shown = "\n".join(outputs(path))
        assert not [text for text in telling if text in shown], path.name
