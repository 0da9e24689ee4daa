"Sizes by arithmetic are those of the models that transformers builds"

import pytest

from dialsum.models.cards import CARDS, ModelCard, toy_config
from dialsum.models.shapes import shapes_of
from dialsum.models.sizes import linear_layers, parameter_counts, skeleton

VARIANTS = {
    "llama with biases": ("llama-3.2-korean-3b", dict(attention_bias=True, mlp_bias=True)),
    "llama without a width of heads": ("solar-10.7b", dict(head_dim=None, num_key_value_heads=None)),
    "a tied llama": ("solar-10.7b", dict(tie_word_embeddings=True)),
    "an untied qwen3": ("qwen3-4b", dict(tie_word_embeddings=False)),
    "gpt-neox without biases": ("kullm-v2", dict(attention_bias=False)),
    "a tied gpt-neox": ("polyglot-ko-12.8b", dict(tie_word_embeddings=True)),
    "bart of unequal stacks": ("kobart", dict(encoder_layers=3, decoder_ffn_dim=64)),
}
CONFIGS = (
    {name: c.config for name, c in CARDS.items()}
    | {f"toy of {name}": toy_config(c) for name, c in CARDS.items()}
    | {name: toy_config(CARDS[base]) | changed for name, (base, changed) in VARIANTS.items()}
)


@pytest.mark.parametrize("name", CONFIGS)
def test_counted_as_built(name):
    counted, built = shapes_of(CONFIGS[name]), skeleton(ModelCard("", "", "", CONFIGS[name]))
    assert counted.parameters == sum(p.numel() for p in built.parameters())
    linear = sorted((m.in_features, m.out_features) for _, m in linear_layers(built))
    assert sorted(counted.linear) == linear and linear
    assert counted.adapter(4) == sum(4 * (inputs + outputs) for inputs, outputs in linear)


def test_an_architecture_that_is_not_known_is_built():
    config = dict(model_type="gpt2", vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=32)
    assert shapes_of(config) is None and shapes_of(dict(model_type="llama")) is None
    built = skeleton(ModelCard("", "", "", config))
    assert parameter_counts(ModelCard("", "", "", config))[0] == sum(p.numel() for p in built.parameters())


def test_numbers_that_are_missing_are_asked_of_transformers():
    "As a card that leaves out what its architecture has by itself"
    config = dict(toy_config(CARDS["qwen3-4b"]))
    del config["tie_word_embeddings"]
    built = skeleton(ModelCard("", "", "", config))
    assert parameter_counts(ModelCard("", "", "", config))[0] == sum(p.numel() for p in built.parameters())
