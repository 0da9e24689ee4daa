"Formulas of what is alive, and the table of those that ship"

import random

import pytest

from dialsum.models import kept_simulations
from dialsum.models.cards import CARDS
from dialsum.models.kept_simulations import heard_before_simulation, kept, releases, shipped, table_key
from dialsum.models.moments import PART_NAMES, peak_parts, possible_peaks
from dialsum.models.precision import cpu_features, may_have_gpu
from dialsum.models.simulation_table import usual_simulations

PRODUCTS = ("", "r", "lr", "llr", "tr", "klr", "k", "l")


def random_moments(chance, count=25):
    "Moments of which each holds a few products of sizes"
    moments = []
    for _ in range(count):
        of_kind = {kind: chance.sample(PRODUCTS, 3) for kind in PART_NAMES}
        formulas = {
            kind: {letters: chance.randint(1, 1000) for letters in chosen} for kind, chosen in of_kind.items()
        }
        moments.append(formulas)
    return moments


def random_sizes(chance):
    length = chance.choice([1, 2, 100, 5000])
    target = chance.randint(1, length)
    return dict(r=chance.choice([1, 2, 64]), l=length, t=target, k=chance.choice([1, 16, 300]))


@pytest.mark.parametrize("gradient_bytes", [0, 10**6])
def test_no_peak_is_lost_among_those_that_are_possible(gradient_bytes):
    chance = random.Random(0)
    for _ in range(2):
        moments = random_moments(chance)
        few = possible_peaks(moments)
        assert len(few) < len(moments)
        for _ in range(40):
            sizes = random_sizes(chance)
            peaks = [sum(peak_parts(some, sizes, gradient_bytes).values()) for some in (few, moments)]
            assert peaks[0] == peaks[1], sizes


def test_what_ships_is_what_the_cards_are_usually_asked_for():
    usual = {table_key(simulation.what) for card in CARDS.values() for simulation in usual_simulations(card)}
    assert shipped(), f"the table is of other releases than {releases()}: make table"
    assert set(shipped()) == usual, "cards or settings have changed: make table"


def test_other_releases_than_the_table_are_simulated(monkeypatch, tmp_path):
    what = next(usual_simulations(CARDS["kobart"])).what
    monkeypatch.setenv("DIALSUM_CACHE", str(tmp_path))
    assert kept(what, lambda: "simulated") == shipped()[table_key(what)]["moments"]
    monkeypatch.setattr(kept_simulations, "releases", lambda: dict(torch="9.9", transformers="9.9"))
    shipped.cache_clear()
    try:
        assert kept(what, lambda: "simulated") == "simulated"
    finally:
        shipped.cache_clear()


@pytest.mark.parametrize("name", ["nvidia0", "nvidiactl", "dxg", "kfd"])
def test_a_file_of_a_gpu_leaves_the_answer_to_torch(tmp_path, name):
    (tmp_path / "null").touch()
    assert not may_have_gpu(tmp_path)
    (tmp_path / name).touch()
    assert may_have_gpu(tmp_path)


@pytest.mark.parametrize(
    ("text", "features"),
    [
        ("model name\t: X\nflags\t\t: fpu avx512_bf16\n\nflags\t\t: fpu\n", {"fpu", "avx512_bf16"}),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", {"fp", "asimd", "bf16"}),
        ("cpu\t: POWER9\n", set()),
    ],
)
def test_features_of_a_processor(tmp_path, text, features):
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_features(tmp_path / "cpuinfo") == features
    assert cpu_features(tmp_path / "none") == set()


def test_what_the_cache_cannot_hold_is_simulated_once_in_a_process(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(kept_simulations, "cache_path", lambda: tmp_path / "file")  # no folder
    simulated, what = [], ["of this test", str(tmp_path)]
    for _ in range(2):
        assert kept(what, lambda: simulated.append(1) or "moments") == "moments"
    assert len(simulated) == 1


def test_a_simulation_is_heard_of_before_it_is_run_and_once(monkeypatch, tmp_path):
    monkeypatch.setenv("DIALSUM_CACHE", str(tmp_path))
    heard = []
    with heard_before_simulation(lambda: heard.append("about to")):
        kept(next(usual_simulations(CARDS["kobart"])).what, lambda: heard.append("simulated"))
        assert not heard  # it ships
        for number in range(2):
            kept(["of this test", number], lambda: heard.append("simulated"))
    kept(["of this test", 2], lambda: heard.append("simulated"))
    assert heard == ["about to", "simulated", "simulated", "simulated"]
