"A run folder that is moved, and weights that lie elsewhere: what counts is what is in them"
import os, shutil

import pytest
import torch

from dialsum import training
from dialsum.data import read
from dialsum.models import card, load, replica
from dialsum.precision import here
from dialsum.runs import sample_path
from dialsum.training import Recipe, train

FAST = Recipe(epochs=3, batch_size=8, learning_rate=1e-3)


class Killed(Exception): pass


def scores(*values):
    "What evaluations say, one after the other; None: the machine loses its power"
    left = iter(values)
    def write():
        score = next(left)
        if score is None: raise Killed
        return dict(rouge_mean=float(score))
    return write


def trained(folder, write, checkpoint=None, name='kobart', r=FAST):
    rows = read(sample_path()/'train.csv', summaries=True).head(8)
    said, loaded = [], load(card(name), str(checkpoint or replica(card(name))))
    happened = train(loaded, rows, rows.head(2), r, folder, here(card(name), 'replica', r.method), write, say=said.append, scale='replica')
    return happened, any('going on from' in line for line in said)


def weights(folder, name='kobart'):
    return load(card(name), str(folder/'model')).model.state_dict()


def same(one, other, name='kobart'):
    "Whether the models in two folders are equal, bit for bit"
    a, b = weights(one, name), weights(other, name)
    return all(torch.equal(a[n], b[n]) for n in a)


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp('undisturbed')
    return folder, trained(folder, scores(9, 1, 2))[0]


@pytest.fixture
def saving_is_killed(monkeypatch):
    def attempt(folder, write):
        def killed(*args, **kwargs): raise Killed
        with monkeypatch.context() as m, pytest.raises(Killed):
            m.setattr(training, 'save', killed)
            trained(folder, write)
    return attempt


NEW = '옮긴 곳/실험 폴더'


def moved(folder, where):
    where.parent.mkdir(parents=True)
    os.rename(folder, where)
    return where


def test_a_training_that_was_killed_goes_on_where_it_was_moved_to(undisturbed, tmp_path):
    folder, whole = undisturbed
    with pytest.raises(Killed): trained(tmp_path/'run', scores(9, 1, None))
    happened, went_on = trained(moved(tmp_path/'run', tmp_path/NEW), scores(2))
    assert went_on and happened['best'] == whole['best'] and happened['curve'] == whole['curve']
    assert same(folder, tmp_path/NEW)


def test_a_training_that_was_killed_while_saving_saves_the_best_epoch_after_a_move(undisturbed, saving_is_killed, tmp_path):
    folder, whole = undisturbed
    saving_is_killed(tmp_path/'run', scores(9, 1, 2))
    happened, went_on = trained(moved(tmp_path/'run', tmp_path/NEW), scores())
    assert went_on and happened['best'] == whole['best'] and happened['best']['epoch'] == 1
    assert same(folder, tmp_path/NEW)


def test_a_training_does_not_go_on_without_its_best_epoch(undisturbed, saving_is_killed, tmp_path):
    "Its checkpoint lost a file: the last epoch must not be saved in its place"
    folder, whole = undisturbed
    saving_is_killed(tmp_path/'run', scores(9, 1, 2))
    [best] = (tmp_path/'run'/'checkpoints').glob('*/checkpoint-1')
    (best/'model.safetensors').unlink()
    happened, went_on = trained(tmp_path/'run', scores(9, 1, 2))
    assert not went_on and happened['best'] == whole['best'] and same(folder, tmp_path/'run')


def test_the_same_weights_elsewhere_are_gone_on_with(undisturbed, tmp_path):
    folder, whole = undisturbed
    with pytest.raises(Killed): trained(tmp_path/'run', scores(9, None))
    elsewhere = shutil.copytree(replica(card('kobart')), tmp_path/'다른 곳'/'weights')
    happened, went_on = trained(tmp_path/'run', scores(1, 2), elsewhere)
    assert went_on and happened['best'] == whole['best'] and same(folder, tmp_path/'run')


def test_other_weights_in_the_same_place_are_not(tmp_path):
    place = shutil.copytree(replica(card('kobart')), tmp_path/'weights')
    with pytest.raises(Killed): trained(tmp_path/'run', scores(9, None), place)
    other = load(card('kobart'), str(place))
    with torch.no_grad(): other.model.get_input_embeddings().weight[7] += 1
    training.save(other, place)
    assert not trained(tmp_path/'run', scores(9, 1, 2), place)[1]


def test_an_adapter_is_known_by_what_its_base_holds(tmp_path):
    import json

    from dialsum.models import fingerprint
    c, r = card('qwen3-4b'), Recipe(method='lora', epochs=1, batch_size=8)
    trained(tmp_path, scores(1), name=c.name, r=r)
    adapter, base = tmp_path/'model', shutil.copytree(replica(c), tmp_path/'밑'/'base')
    before = fingerprint(str(adapter))
    config = json.loads((adapter/'adapter_config.json').read_text(encoding='utf-8'))
    (adapter/'adapter_config.json').write_text(json.dumps(config | dict(base_model_name_or_path=str(base))), encoding='utf-8')
    assert fingerprint(str(adapter)) == before
    (base/'config.json').write_text('{}')
    assert fingerprint(str(adapter)) != before
