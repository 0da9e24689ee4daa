"""Logs of strangers with their causes, as people paste them: at least 19 of 22 told right, none wrong, nothing told of
what is none of this field's failures; and the same behind each surface"""

import json

import pytest
from support.diagnosis import kinds
from support.surfaces import SURFACES

RIGHT = {
    "01.log": "checkpoint-optimizer-groups",
    "03.log": "precision-scaler-fp16",
    "05.log": "deepspeed-batch",
    "07.log": "tracker-key",
    "09.log": "data-untokenized",
    "11.log": "checkpoint-shared-tensors",
    "13.log": "cuda-attention-old-gpu",
    "15.log": "ddp-port-in-use",
    "17.log": "data-json",
    "19.log": "network-gated",
    "21.log": "kernel-start",
    "23.log": "quantization-cuda-setup",
    "25.log": "version-protobuf",
    "27.log": "data-worker-pickle",
    "29.log": "network-rate-limit",
    "31.log": "memory-killed",
    "33.log": "ddp-unused-parameters",
    "35.log": "data-not-parquet",
    "37.log": "version-trl-arguments",
    "39.log": "ddp-nccl-missing",
    "41.log": "version-cuda-libraries",
    "43.log": "tracker-key",
}


@pytest.fixture(scope="module")
def logs(shared):
    folder = shared / "cases" / "logs"
    if not folder.is_dir():
        pytest.skip("needs shared/cases/logs beside the checkout (logs of others)")
    names = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    return {name: (folder / name).read_text(encoding="utf-8", errors="replace") for name in names}


def told(text):
    return {kind for kind in kinds(text) if kind != "unknown"}


@pytest.mark.parametrize("surface", ["", *SURFACES])
def test_logs_of_strangers(logs, surface):
    wrap = SURFACES.get(surface, str)
    found = {name: told(wrap(text)) for name, text in logs.items()}
    assert {name: found[name] for name in found if name not in RIGHT and found[name]} == {}
    wrong = {name: found[name] for name in RIGHT if found[name] - {RIGHT[name]}}
    assert wrong == {}
    assert sum(found[name] == {kind} for name, kind in RIGHT.items()) >= 19
