"A checkpoint that was copied by half is a sentence in every command that loads one"
import shutil

import pytest

from dialsum.generation import checkpoint_of, trained
from dialsum.models import card, load, replica
from dialsum.runs import DialsumError, begin, new_run, sample_path

QWEN = card('qwen3-4b')
TORN = ['model.safetensors', 'config.json']


@pytest.fixture(params=TORN)
def half(request, tmp_path):
    "A folder of which one file was cut off"
    folder = shutil.copytree(replica(QWEN), tmp_path/'half')
    file = folder/request.param
    file.write_bytes(file.read_bytes()[:-100])
    return folder, request.param


def test_loading_says_which_file_is_cut_off(half):
    folder, name = half
    with pytest.raises(DialsumError, match=f"not whole, '{name}' .*: fetch it again"): load(QWEN, str(folder))


@pytest.mark.parametrize('named', [True, False])
def test_predict_says_it_in_one_line(half, typed, tmp_path, named):
    folder, name = half
    words = ['--model', 'qwen3-4b'] if named else []
    done = typed('predict', '--checkpoint', folder, *words, '--input', sample_path()/'test.csv', '--output', tmp_path/'out.csv')
    [line] = done.stderr.strip().splitlines()
    assert done.returncode == 2 and f"'{name}'" in line and line.endswith('fetch it again.')


@pytest.mark.parametrize('found', [checkpoint_of, trained])
def test_a_stage_says_it_before_it_loads(half, tmp_path, found):
    folder, name = half
    stage = begin('evaluate', dict(run=str(new_run('torn', {}, tmp_path/'runs')), checkpoint=str(folder)))
    with pytest.raises(DialsumError, match=f"'{name}'"): found(stage, QWEN, 'full')


def test_the_model_that_a_run_trained_and_an_adapter_are_looked_at_too(tmp_path):
    from dialsum.training import Recipe, add_lora, save
    base = shutil.copytree(replica(QWEN), tmp_path/'base')
    loaded = load(QWEN, str(base))
    loaded.model = add_lora(loaded.model, Recipe(method='lora', lora_r=4, lora_alpha=8, lora_dropout=0.))
    adapter = save(loaded, tmp_path/'adapter')
    load(QWEN, str(adapter))
    for file in (adapter/'adapter_model.safetensors', adapter/'adapter_config.json', base/'model.safetensors', base/'config.json'):
        whole = file.read_bytes()
        file.write_bytes(whole[:-100])
        with pytest.raises(DialsumError, match=f"not whole, '{file.name}'"): load(QWEN, str(adapter))
        file.write_bytes(whole)
    load(QWEN, str(adapter))
