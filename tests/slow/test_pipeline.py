"Experiments from start to report, on toys"

import pytest

from dialsum.pipeline.process import run_stage
from dialsum.pipeline.spec import StageSpec
from dialsum.runs.folders import new_run


@pytest.mark.slow
def test_training_goes_on_from_an_adapter_and_replaces_it_whole(tmp_path):
    from dialsum.models.cards import card
    from dialsum.models.loading import load

    run = new_run("again", {}, tmp_path)
    small = dict(scale="replica", epochs=1, max_new_tokens=8, eval_rows=4)
    first = run_stage(StageSpec(run, "train", "qwen3-4b", small))
    assert first.status == "success", first.error
    more = new_run("more", {}, tmp_path)
    second = run_stage(
        StageSpec(more, "train", "qwen3-4b", small | dict(checkpoint=str(run / "qwen3-4b" / "model")))
    )
    assert second.status == "success" and second.metrics.dev_loss_before == pytest.approx(
        first.metrics.best.loss, rel=1e-4
    ), second.error
    assert load(card("qwen3-4b"), str(more / "qwen3-4b" / "model")).parameters
    whole = run_stage(StageSpec(run, "train", "qwen3-4b", small | dict(method="full", learning_rate=1e-3)))
    assert whole.status == "success", whole.error
    assert not hasattr(load(card("qwen3-4b"), str(run / "qwen3-4b" / "model")).model, "peft_config")
