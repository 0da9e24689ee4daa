"A tokenizer that spoils tags is refused before weights are read: here they are no numbers, which would be told first"

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dialsum.models.cards import card
from dialsum.models.replicas import replica
from dialsum.runs.errors import DialsumError
from dialsum.runs.folders import new_run
from dialsum.runs.leases import release
from dialsum.runs.parameters import stage_notebook


@pytest.fixture(scope="module")
def spoiling(tmp_path_factory):
    "A replica's folder whose tokenizer writes tags in small letters, and whose weights are no numbers"
    folder = tmp_path_factory.mktemp("spoiling") / "model"
    shutil.copytree(replica(card("kobart")), folder)
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: np.full_like(w, np.nan) for name, w in weights.items()},
        folder / "model.safetensors",
        metadata=dict(format="pt"),
    )
    tokenizer = folder / "tokenizer.json"
    told = json.loads(tokenizer.read_text(encoding="utf-8"))
    told["normalizer"] = dict(type="Lowercase")
    tokenizer.write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    return folder


def cells(stage):
    found = json.loads(stage_notebook(stage).read_text(encoding="utf-8"))["cells"]
    return ["".join(c["source"]) for c in found if c["cell_type"] == "code"]


@pytest.mark.parametrize("stage", ["evaluate", "tta", "predict", "optimize"])
def test_a_stage_refuses_it_before_the_weights_are_read(stage, spoiling, tmp_path):
    run, names = new_run(stage, {}, tmp_path), {}
    first, *rest = cells(stage)
    exec(first, names)
    names |= dict(run=str(run), model="kobart", scale="replica", checkpoint=str(spoiling))
    with pytest.raises(DialsumError, match="does not give tags back"):
        exec("\n".join(rest), names)
    assert "loaded" not in names and "predictor" not in names
    for folder in (run, run / "kobart"):
        release(folder)


def test_the_command_line_does_as_well(spoiling, typed, tmp_path):
    (tmp_path / "rows.csv").write_text("fname,dialogue\nt_0,#Person1#: 안녕하세요.\n", encoding="utf-8")
    done = typed(
        "predict",
        "--checkpoint",
        spoiling,
        "--model",
        "kobart",
        "--input",
        tmp_path / "rows.csv",
        "--output",
        tmp_path / "written.csv",
    )
    assert (
        done.returncode == 2
        and "does not give tags back" in done.stderr
        and not (tmp_path / "written.csv").exists()
    ), done.stderr
