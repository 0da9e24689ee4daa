"The course of a training: how many updates, which epoch is kept, what a continued adapter is, and when a training is refused"
import pytest
import torch

from dialsum.data import read
from dialsum.models import card, load, replica
from dialsum.precision import here
from dialsum.runs import sample_path
from dialsum.training import Recipe, train


def rows(count):
    return read(sample_path()/'train.csv', summaries=True).head(count)


def toy(name, checkpoint=None):
    return load(card(name), str(checkpoint or replica(card(name))))


def trained(loaded, learned, r, folder, write=None, **more):
    precision = here(loaded.card, 'replica', r.method)
    return train(loaded, learned, rows(2), r, folder, precision, write, say=lambda line: None, scale='replica', **more)


def weights(loaded):
    return {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}


def changed(before, after):
    return [name for name in before if not torch.equal(before[name], after[name])]


@pytest.mark.parametrize('batch, accumulation, epochs, count', [(8, 1, 1, 8), (4, 2, 1, 9), (3, 1, 2, 8), (2, 3, 2, 13)])
def test_the_number_of_updates_is_what_the_trainer_takes(batch, accumulation, epochs, count, tmp_path):
    from dialsum.training import updates
    r = Recipe(batch_size=batch, gradient_accumulation_steps=accumulation, epochs=epochs, learning_rate=1e-3)
    assert trained(toy('kobart'), rows(count), r, tmp_path)['steps'] == updates(r, count)


@pytest.mark.parametrize('ratio', [0.0, 0.1, 0.99])
@pytest.mark.parametrize('count', [1, 2, 3, 10, 11, 100])
def test_warm_up_leaves_an_update(ratio, count):
    from dialsum.training import updates, warmup
    r = Recipe(batch_size=1, epochs=1, warmup_ratio=ratio)
    assert 0 <= warmup(r, count) < updates(r, count) == count


def test_a_training_of_one_update_changes_the_model(tmp_path):
    happened = trained(toy('kobart'), rows(8), Recipe(batch_size=8, epochs=1, learning_rate=1e-3), tmp_path)
    assert happened['steps'] == 1 and happened['curve'][0]['learning_rate'] == 1e-3
    assert happened['best']['loss'] != happened['dev_loss_before']


def test_a_continued_adapter_changes_in_one_update(tmp_path):
    r = Recipe(method='lora', batch_size=8, epochs=1, learning_rate=1e-2)
    trained(toy('qwen3-4b'), rows(8), r, tmp_path/'first')
    before = weights(toy('qwen3-4b', tmp_path/'first'/'model'))
    trained(toy('qwen3-4b', tmp_path/'first'/'model'), rows(8), r, tmp_path/'second')
    after = changed(before, weights(toy('qwen3-4b', tmp_path/'second'/'model')))
    assert after and all('lora_' in name for name in after)
