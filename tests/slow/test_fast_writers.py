"Continuous batching of other architectures, drawn, and found by the search; a run whose summaries a server writes"

import json
import shutil

import pytest
from support.chat import KEY, quickly, serving, written  # noqa: F401
from support.toys import known_rows, learned

from dialsum.generation.decoding import Decoding
from dialsum.generation.factory import engine
from dialsum.generation.predictor import Predictor
from dialsum.generation.search import optimize
from dialsum.models.cards import card
from dialsum.models.checkpoints import locate
from dialsum.pipeline.plan import plan_stages
from dialsum.pipeline.process import run_stage
from dialsum.runs.folders import new_run

CPU = dict(device="cpu")
TEXTS = list(known_rows()["dialogue"])[:6]


def made(name, decoding):
    return engine("continuous", card(name), str(learned(name)), 2, decoding=decoding, loading=CPU)


@pytest.mark.parametrize("name", ["llama-3.2-korean-3b", "qwen3-4b", "solar-10.7b", "kullm-v2"])
def test_continuous_batching_writes_what_the_predictor_writes(name):
    fast = made(name, Decoding(max_new_tokens=10))
    plain = Predictor(fast.loaded, 2, decoding=fast.decoding)
    assert fast.predict_batch(TEXTS) == plain.predict_batch(TEXTS)
    assert fast.reached == plain.reached


def test_drawn_summaries_are_those_of_the_seed():
    continuous = made("qwen3-4b", Decoding(max_new_tokens=10, temperature=3.0))

    def drawn(seed):
        continuous.seed = seed
        return continuous.predict_batch(TEXTS[:1] * 3)

    first = drawn(1)
    assert len(set(first)) > 1 and drawn(1) == first != drawn(2)


def test_the_search_measures_continuous_batching_where_it_is_named():
    how = dict(decoding=Decoding(max_new_tokens=6), sizes=(4,), seconds=600, loading=CPU, identical=True)
    checkpoint = str(learned("qwen3-4b"))
    found = optimize(card("qwen3-4b"), checkpoint, TEXTS[:4], engines=("hf", "continuous"), **how)
    assert {row.engine: row.identical for row in found.rows} == dict(hf=1, continuous=1)


def test_a_run_predicts_with_a_server_and_tells_its_key_nobody(tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    run = new_run("served", dict(models=["qwen3-4b"]), tmp_path)
    shutil.copytree(locate(card("qwen3-4b"), "replica"), run / "qwen3-4b" / "model")
    with serving(lambda n, asked, handler: written("#Person1#이 말한다.")) as server:
        server.models = ["dialsum"]
        options = dict(
            scale="replica",
            engine="server",
            server_url=server.url,
            server_model="dialsum",
            server_key_variable="VLLM_API_KEY",
        )
        specs = {s.key: s for s in plan_stages(run, ["qwen3-4b"], options, rehearse=False)}
        fact = run_stage(specs["qwen3-4b/predict"], threads=1)
    assert fact.status == "success", fact.error
    assert (fact.metrics.engine, fact.params["server_model"]) == ("server", "dialsum")
    assert set(server.keys) == {f"Bearer {KEY}"} and len(server.seen) == fact.metrics.rows
    files = [path for path in run.rglob("*") if path.is_file() and path.suffix != ".safetensors"]
    assert any(path.suffix == ".ipynb" for path in files)
    assert not [path.name for path in files if KEY.encode() in path.read_bytes()]
    assert json.loads((run / "qwen3-4b" / "predict.json").read_text())["status"] == "success"
