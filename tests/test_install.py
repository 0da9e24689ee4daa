"What a stranger does: install a wheel elsewhere, type what the README says"
import json, os, re, shutil, subprocess, sys
from pathlib import Path

import pytest

from conftest import ROOT


@pytest.fixture(scope='module')
def installed(checkout, tmp_path_factory):
    "A folder that holds the installed wheel"
    top = tmp_path_factory.mktemp('wheel')
    for command in (['build', '--wheel', '--no-isolation', '--outdir', top, checkout], ['pip', 'install', '--quiet', '--no-deps', '--target', top/'site', None]):
        wheel = next(top.glob('*.whl'), None)
        done = subprocess.run([sys.executable, '-m', *(str(wheel if w is None else w) for w in command)], cwd=top, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return top/'site'


def test_a_wheel_runs_the_demo_anywhere(installed, tmp_path):
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'} | dict(PYTHONPATH=str(installed), JUPYTER_PREFER_ENV_PATH='1')
    command = 'import sys, dialsum; print(dialsum.__file__, file=sys.stderr); from dialsum.cli import main; sys.exit(main())'
    done = subprocess.run([sys.executable, '-P', '-c', command, 'demo', '--models', 'solar', '--epochs', '1', '--json'], cwd=tmp_path, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and done.stderr.startswith(str(installed)), done.stderr
    told = json.loads(done.stdout)
    assert Path(told['run']).parent == tmp_path/'runs' and Path(told['report']).parent == tmp_path/'reports' and Path(told['report']).is_file()
    assert Path(told['page']) == Path(told['report']).with_suffix('.html') and Path(told['page']).read_text(encoding='utf-8').startswith('<!DOCTYPE html>')


def commands(language):
    return re.findall(rf'^```{language}\n(.*?)^```', (ROOT/'README.md').read_text(encoding='utf-8'), re.M|re.S)


@pytest.mark.parametrize('block', commands('bash'), ids=lambda b: b.splitlines()[0][:60])
def test_the_commands_of_the_readme_work(block, checkout, call):
    for part in ('train', 'dev', 'test'): shutil.copy(checkout/'nbs'/'sample'/f'{part}.csv', checkout/f'my_{part}.csv')
    bin = checkout/'bin'
    bin.mkdir(exist_ok=True)
    (bin/'dialsum').write_text(f'#!{sys.executable}\nimport sys\nfrom dialsum.cli import main\nsys.exit(main())\n')
    (bin/'dialsum').chmod(0o755)
    done = call('bash', '-ec', f'PATH={bin}:$PATH\n{block}')
    assert done.returncode == 0, f'{block}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}'


def test_the_demo_trains_six_of_six(checkout):
    "The README's first command has left its experiment in the copy"
    runs = [json.loads(p.read_text()) for p in (checkout/'runs').glob('*_demo/*/train.json')]
    assert len(runs) == 6 and all(f['status'] == 'success' and f['metrics']['best']['loss'] < f['metrics']['dev_loss_before'] for f in runs)
    [report] = [p for p in (checkout/'reports').glob('*_demo.md') if '_vs_' not in p.name]
    assert '```mermaid' in report.read_text(encoding='utf-8')


def test_make_names_what_the_readme_says():
    made = (ROOT/'Makefile').read_text()
    for word in re.findall(r'^make (\w+)', '\n'.join(commands('sh')), re.M): assert re.search(rf'^{word}:', made, re.M), word
