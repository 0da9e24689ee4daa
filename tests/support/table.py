"Shipped formulas against steps of a certain size"

from dataclasses import replace

from dialsum.models.kept_simulations import shipped, table_key
from dialsum.models.moments import peak_parts
from dialsum.models.simulation import PRIMES, simulated_step
from dialsum.models.training_step import TrainingStep
from dialsum.models.writing_memory import simulated_reading


def random_sizes(card, chance):
    "Rows, length, target and rank as they come, and at the borders of kernels and windows"
    lengths = [2, 63, 64, 65, 100, 512, 513, 1000, 1024, 1280, 2048, chance.randint(2, 3000)]
    longest = card.config["max_position_embeddings"]
    length = chance.choice([length for length in lengths if length <= longest])
    target = chance.choice([1, length, chance.randint(1, length)])
    return dict(r=chance.choice([1, 2, 3, 8, 64]), l=length, t=target, k=chance.choice([1, 8, 16, 33, 256]))


def check(card, usual, chance):
    "What ships for a card against the same simulated anew, at many sizes, to the byte"
    formulas, anew = shipped()[table_key(usual.what)]["moments"], usual.simulate()
    for _ in range(100):
        _compare(usual, formulas, anew, random_sizes(card, chance))


def check_certain(card, usual, chance):
    "What ships for a card against the same simulated at a certain length, to the byte"
    sizes = random_sizes(card, chance)
    certain = dict(batch=PRIMES["r"], length=sizes["l"], target=sizes["t"], rank=sizes["k"])
    if usual.what[0] == "step":
        _, _, settings, device = usual.what
        moments = simulated_step(card, replace(TrainingStep(**settings), **certain), device)
    else:
        step = TrainingStep(method="full", weights=usual.what[2])
        moments = simulated_reading(card, replace(step, **certain))
    _compare(usual, shipped()[table_key(usual.what)]["moments"], moments, sizes)


def _compare(usual, formulas, moments, sizes):
    for gradient_bytes in (0, 10**9):
        simulated = peak_parts(moments, sizes, gradient_bytes)
        assert peak_parts(formulas, sizes, gradient_bytes) == simulated, (usual.name, sizes, "make table")
