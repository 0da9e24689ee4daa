"Does each model learn what it is shown, and end what it writes? And are there other toys than one?"

import pytest
from support.learning import check, learned_by_heart, short_rows, without_end

from dialsum.models.cards import card
from dialsum.models.loading import load
from dialsum.models.replicas import replica


@pytest.mark.slow
def test_an_end_token_whose_row_is_zero_in_the_checkpoint_is_learned_beside_the_adapter(tmp_path):
    "Checkpoints of others may have been built with their end token as padding"
    c, old = card("llama-3.2-korean-3b"), tmp_path / "old"
    loaded = without_end(load(c, str(replica(c))))
    loaded.model.save_pretrained(old)
    loaded.tokenizer.save_pretrained(old)
    check(learned_by_heart(c.name, tmp_path, rows=short_rows(2), repeats=20, epochs=5, checkpoint=str(old)))
