"All that ships of simulations, simulated anew, and at a certain size: a quarter of an hour"

import random

import pytest
from support.table import check, check_certain

from dialsum.models.cards import CARDS
from dialsum.models.simulation_table import usual_simulations


@pytest.mark.slow
@pytest.mark.parametrize("card", CARDS.values(), ids=lambda card: card.name)
def test_what_ships_is_what_a_simulation_shows(card):
    chance = random.Random(card.name)
    for usual in usual_simulations(card):
        check(card, usual, chance)
        check_certain(card, usual, chance)
