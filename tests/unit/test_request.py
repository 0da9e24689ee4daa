"What an experiment keeps of its request"

import argparse

import pytest

from dialsum.checks.options import check_options
from dialsum.commands.options import parser
from dialsum.commands.request import new_request, recipe_options
from dialsum.models.cards import card
from dialsum.models.precision import Device
from dialsum.runs.parameters import stage_parameters


def typed(*words):
    return parser().parse_args(words, argparse.Namespace(typed="dialsum …", given=[]))


@pytest.fixture
def on(monkeypatch):
    "As on another machine"

    def on(device):
        for module in ("dialsum.commands.request", "dialsum.models.precision"):
            monkeypatch.setattr(f"{module}.this_device", lambda: device)

    return on


@pytest.mark.parametrize(
    ("device", "precision"),
    [
        (Device("cpu", True), "bf16"),
        (Device("cpu", False), "fp32"),
        (Device("cuda", True), "bf16"),
        (Device("cuda", False), "fp16"),
    ],
)
def test_an_experiment_of_full_size_keeps_the_numbers_of_its_machine(device, precision, on, tmp_path):
    on(device)
    words = ("run", "--models", "kobart", "--reports", str(tmp_path))
    request = new_request(typed(*words))
    assert request.options["precision"] == precision
    with_precision = [
        spec for spec in request.stages(tmp_path) if "precision" in stage_parameters(spec.stage)
    ]
    assert {spec.params["precision"] for spec in with_precision} == {precision}
    assert {spec.stage for spec in with_precision} >= {"train", "evaluate", "predict"}
    assert "precision" not in recipe_options(typed(*words), request.options)
    asked = typed(*words, "--precision", "fp32")
    assert new_request(asked).options["precision"] == "fp32"
    assert recipe_options(asked, new_request(asked).options)["precision"] == "fp32"


def test_replicas_and_other_machines_are_left_open(on, tmp_path):
    on(Device("cpu", True))
    for words in (["demo"], ["export", "--to", "sh"], ["run", "--on", "ray:auto"]):
        assert "precision" not in new_request(typed(*words, "--reports", str(tmp_path))).options, words


def test_what_another_machine_cannot_compute_in_is_refused(on):
    on(Device("cpu", False))
    [finding] = check_options(card("kobart"), "full", dict(precision="bf16"))
    assert (finding.code, finding.severity) == ("bf16_unsupported", "error")
