"What the tests of option_limits share"

import shutil

from dialsum.runs.places import sample_path


def given(folder):  # a training set without dev and test rows
    shutil.copy(sample_path() / "train.csv", folder / "train.csv")
    return ["--train-csv", folder / "train.csv"]
