"What the tests of memory share"

from dataclasses import replace

from dialsum.models.cards import card

TINY = dict(
    hidden_size=256,
    intermediate_size=768,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=64,
    num_hidden_layers=3,
    vocab_size=20_000,
)


def tiny(name="qwen3-4b"):
    return replace(card(name), config=card(name).config | TINY)
