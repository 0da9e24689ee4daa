"""What the small real model learns of real dialogues, on two CPU cores: `python -m pytest -m real_data` (three quarters of an hour).

It needs the weights (`dialsum fetch gemma-3-270m`) and dialogues that may not be redistributed; where either is missing it skips."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from dialsum.models.cards import card
from dialsum.models.checkpoints import locate
from dialsum.runs.errors import DialsumError

TRAINED, MEASURED = 500, 100  # rows, of all lengths, in the order of the files
FLOOR = 39  # ROUGE mean of greedy search; lead-2 of the same rows has 25, one sentence for all 27
CONSENSUS_FLOOR = 40  # of the consensus of nine summaries
OPTIONS = """
    run --models real --epochs 1 --batch-size 1 --learning-rate 5e-4 --lora-r 32 --lora-alpha 32
    --use-tta --tta-strategies sample --tta-num-aug 8 --no-rehearse --json
"""


@pytest.fixture(scope="module")
def weights():
    try:
        return locate(card("gemma-3-270m"))
    except DialsumError as e:
        pytest.skip(f"needs the weights of Gemma 3 270M: {e}")


@pytest.fixture(scope="module")
def metrics(weights, shared, tmp_path_factory):
    "Of each stage of one experiment"
    folder = tmp_path_factory.mktemp("real_data")
    for part, rows in (("train", TRAINED), ("dev", MEASURED)):
        dialogues = pd.read_csv(shared / "data" / "kodialogsum" / f"{part}.csv")
        dialogues.head(rows).to_csv(folder / f"{part}.csv", index=False)
    folders = [f"--{name}={folder / name}" for name in ("runs", "reports")]
    files = [f"--{part}-csv={folder / part}.csv" for part in ("train", "dev")]
    program = [sys.executable, "-c", "import sys; from dialsum.cli import main; sys.exit(main())"]
    done = subprocess.run(
        [*program, *OPTIONS.split(), *files, *folders], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    [run] = (folder / "runs").iterdir()
    return {
        stage: json.loads((run / "gemma-3-270m" / f"{stage}.json").read_text())["metrics"]
        for stage in ("train", "evaluate", "tta")
    }


@pytest.mark.real_data
def test_five_hundred_real_dialogues_teach_it_to_summarize(metrics):
    evaluation = metrics["evaluate"]
    split = evaluation["split"]
    kinds = ("rouge1", "rouge2", "rougeL", "mean", "null", "lead2", "differences")
    print(metrics["train"]["train_seconds"], json.dumps({name: split[name] for name in kinds}))
    assert split["mean"]["f"] >= FLOOR
    assert all(split["differences"][row]["mean"]["low"] > 0 for row in ("null", "lead2"))
    assert evaluation["reached"] <= 0.05 * MEASURED
    assert split["diagnostics"]["broken_tags"] == 0


@pytest.mark.real_data
def test_the_consensus_of_nine_summaries_is_not_clearly_worse_and_reaches_forty(metrics):
    gain = metrics["tta"]["gain"]
    print(json.dumps(gain))
    assert gain["mean"] >= CONSENSUS_FLOOR
    assert gain["difference_high"] > 0
