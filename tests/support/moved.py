"What the tests of moved share"

import os

from dialsum.models.cards import card
from dialsum.models.loading import load


def weights(folder, name="kobart"):
    return load(card(name), str(folder / "model")).model.state_dict()


NEW = "옮긴 곳/더 깊이/실험 폴더"


def moved(folder, where):
    where.parent.mkdir(parents=True)
    os.rename(folder, where)
    return where
