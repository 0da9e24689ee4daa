"Each damage of a summary is called by its name: in a score, in its warnings, in the facts and in the report"

import numpy as np
import pytest
from support.damage import DAMAGE, TOKENIZER

from dialsum.data.dialogues import read
from dialsum.scores.rouge import rouge


def test_damaged_real_references_are_called_by_their_damage(shared):
    rows = read(shared / "data" / "kodialogsum" / "dev.csv", summaries=True)
    good = list(rows["summaries"].str[0])
    for name, (spoil, words, _) in DAMAGE.items():
        table = rouge([spoil(text) for text in good], good, dialogues=list(rows["dialogue"]))
        tagged = np.mean(["#" in text for text in good]) if name in ("lost_tags", "broken_tags") else 1
        assert table.diagnostics[name] == pytest.approx(tagged) and any(words in w for w in table.warnings)
        assert not [w for w in table.warnings if TOKENIZER in w]
    assert rouge(good, good, dialogues=list(rows["dialogue"])).warnings == []
