"What the preflight says of a run before it starts, and what is said of a model that it stops"
import shutil

import pytest

from dialsum.models import card, replica
from dialsum.pipeline import plan, run_plan
from dialsum.report import read_experiment, render
from dialsum.runs import new_run


def test_the_cause_of_a_stopped_model_is_what_is_wrong_and_names_the_file(tmp_path):
    broken = tmp_path/'broken'
    shutil.copytree(replica(card('qwen3-4b')), broken)
    (broken/'model.safetensors').write_bytes(b'\xff\x00')
    run = new_run('stopped', dict(models=['qwen3-4b'], scale='replica'), tmp_path/'runs')
    specs = plan(run, ['qwen3-4b'], dict(scale='replica'), False, {'qwen3-4b': str(broken)}, rehearse=False)
    ended = run_plan([s for s in specs if s.stage in ('preflight', 'data', 'train')], say=lambda line: None)
    error = ended['qwen3-4b/train']['error']
    assert ended['preflight']['status'] == 'success' and error['kind'] == 'preflight'
    assert "'model.safetensors' is cut off inside its header" in error['message']
    assert error['cause'] == '파일의 머리가 잘려 있습니다: `model.safetensors`.' and error['remedy'] == '다시 받으십시오.'
    told = render(read_experiment(run))
    assert '원인: 파일의 머리가 잘려 있습니다: `model.safetensors`' in told and '원인: 불러오기를 시작하고 몇 분 뒤' not in told


@pytest.mark.parametrize('found, cause', [
    (dict(what='there is no pad token', where='tokenizer_config.json'), '패딩 토큰이 없습니다 (`tokenizer_config.json`)'),
    (dict(what='the shard a.safetensors is missing', where='a.safetensors'), '가중치의 조각 파일이 없습니다: `a.safetensors`'),
    (dict(what='OSError: no room', where='rehearsal, training'), '`OSError: no room` (`rehearsal, training`)')])
def test_a_cause_names_the_file_or_part_once(found, cause):
    from dialsum.pipeline import _cause_of
    assert _cause_of(found) == cause
