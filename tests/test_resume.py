"""An experiment that is killed again and again ends as if nothing had happened.

`python -m pytest tests/test_resume.py --kills 50` is the long version."""
import copy, os, random, re, shutil, signal, subprocess, sys, tempfile, time
from pathlib import Path

import psutil
import pytest

from dialsum.pipeline import _sockets, state
from dialsum.report import Experiment, read_experiment, render
from dialsum.runs import events, facts, read_fact

SMALL = ['--models', 'kobart', 'qwen3-4b', '--scale', 'replica', '--epochs', '3', '--debug', '--max-new-tokens', '12', '--no-rehearse']
CALL = [sys.executable, '-P', '-c', 'import sys; from dialsum.cli import main; sys.exit(main())']
TIMES = {'seconds', 'train_seconds', 'evaluation_seconds', 'rows_per_second'}


def go(env, *words): return subprocess.Popen([*CALL, *map(str, words)], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope='module')
def undisturbed(env, tmp_path_factory):
    top = tmp_path_factory.mktemp('undisturbed')
    process = go(env, 'run', *SMALL, '--runs', top/'runs', '--reports', top/'reports', '--name', 'x')
    said = process.communicate()[0]
    assert process.returncode == 0, said
    return next((top/'runs').iterdir())


def of(run): # processes that belong to an experiment
    found = []
    for p in psutil.process_iter(['cmdline']):
        try:
            if p.pid != os.getpid() and (str(run) in ' '.join(p.info['cmdline'] or []) or p.environ().get('DIALSUM_RUN') == str(run)): found.append(p)
        except psutil.Error: continue
    return found


def target(driver, kind): # the process to kill now, if it is there
    if kind == 'driver': return driver
    mark = dict(runner='from dialsum.pipeline import child', kernel='ipykernel_launcher')[kind]
    try: found = [p for p in psutil.Process(driver.pid).children(recursive=True) if mark in ' '.join(p.cmdline())]
    except psutil.Error: return None
    return random.choice(found) if found else None


def kill_one(driver, kind, dice):
    "Whether it was killed: after a random time, unless the driver ends before"
    end = time.monotonic() + dice.uniform(0.2, 18)
    while driver.poll() is None:
        if time.monotonic() >= end and (p := target(driver, kind)):
            try: p.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess: continue
            return True
        time.sleep(0.02)
    return False


def same(value): return {k: same(v) for k, v in value.items() if k not in TIMES} if isinstance(value, dict) else [same(v) for v in value] if isinstance(value, list) else value


def timeless(run): # the report's text, as if every stage had taken no time, and the experiment had another name
    e = read_experiment(run)
    def still(value):
        if isinstance(value, dict): return {k: 0 if k in TIMES else '2026-01-01T00:00:00.000+00:00' if k in ('started', 'finished', 'created') else still(v) for k, v in value.items() if k != 'attempts'}
        return [still(v) for v in value] if isinstance(value, list) else value
    asked = copy.deepcopy(e.asked) | dict(experiment='x')
    text = render(Experiment('x', still(asked), [still(f) | dict(experiment='x') for f in sorted(e.facts, key=lambda f: (f['stage'], f['model'] or ''))]))
    return re.sub(r'\b[0-9a-f]{12}\b', 'hash', text.replace(str(run.parent.parent), '…')) # of files that hold times


def test_killed_again_and_again_it_ends_as_if_nothing_had_happened(undisturbed, env, tmp_path, request):
    kills, dice, done, turn = request.config.getoption('--kills'), random.Random(7), 0, 0
    driver, sessions = go(env, 'run', *SMALL, '--runs', tmp_path/'runs', '--reports', tmp_path/'reports', '--name', 'x'), 1
    while done < kills:
        kind = ('kernel', 'runner', 'driver')[turn%3]
        if kill_one(driver, kind, dice): done, turn = done + 1, turn + 1
        if driver.poll() is not None or kind == 'driver':
            driver.communicate()
            run = next((tmp_path/'runs').iterdir(), None)
            assert sessions < 5*kills + 20
            if run is not None and not (run/'experiment.json').is_file(): run = shutil.rmtree(run) # killed before anything was asked
            driver, sessions = go(env, 'resume', run, '--json') if run else go(env, 'run', *SMALL, '--runs', tmp_path/'runs', '--reports', tmp_path/'reports', '--name', 'x'), sessions + 1
    said = driver.communicate()[0]
    for _ in range(3): # what the last kills have left
        if driver.returncode == 0: break
        driver = go(env, 'resume', run, '--json')
        said = driver.communicate()[0]
    assert driver.returncode == 0, said
    run = next((tmp_path/'runs').iterdir())
    print(f'{done} kills in {sessions} sessions')
    for path in undisturbed.rglob('predictions_*.csv'): assert path.read_bytes() == (run/path.relative_to(undisturbed)).read_bytes(), path.name
    assert (run/'submission.csv').read_bytes() == (undisturbed/'submission.csv').read_bytes()
    for path in undisturbed.rglob('*.safetensors'): assert path.read_bytes() == (run/path.relative_to(undisturbed)).read_bytes(), path
    both = [{(f['stage'], f['model']): (f['status'], same(f['metrics'])) for f in facts(r) if f['stage'] != 'report'} for r in (undisturbed, run)]
    assert both[0] == both[1]
    assert timeless(run) == timeless(undisturbed)
    for model in ('kobart', 'qwen3-4b'): # what had succeeded did not run again
        happened = [(e['event'], e.get('status')) for e in events(run) if e.get('model') == model and e.get('stage') == 'train' and e['event'] in ('start', 'end')]
        assert happened.count(('end', 'success')) <= 1 and happened[-1][0] in ('end', 'start') and ('start', None) not in happened[happened.index(('end', 'success')) + 1 if ('end', 'success') in happened else len(happened):], happened
    assert state(run) == 'complete' and not of(run) and not [p for p in run.rglob('*') if '.tmp' in p.name or 'torn' in p.name or p.name == 'checkpoints']
    assert not list(Path(tempfile.gettempdir()).glob(f"{_sockets(run, '*').name}/*kernel*"))


def test_a_finished_experiment_has_nothing_left_and_an_option_reaches_what_depends_on_it(undisturbed, env, tmp_path):
    run = shutil.copytree(undisturbed.parent.parent, tmp_path, dirs_exist_ok=True)/'runs'/undisturbed.name
    asked = read_fact(run/'experiment.json')
    before = {p: p.stat().st_mtime_ns for p in run.rglob('*') if p.is_file() and p.name not in ('events.jsonl', 'experiment.json')}
    process = go(env, 'resume', run)
    said = process.communicate()[0]
    assert process.returncode == 0 and 'everything is done' in said and said.count(' kept ') == 10, said
    assert {p: p.stat().st_mtime_ns for p in before} == before and read_fact(run/'experiment.json') == asked
    process = go(env, 'resume', run, '--num-beams', '2')
    said = process.communicate()[0]
    assert process.returncode == 0, said
    assert {line.split()[2] for line in said.splitlines() if ' kept ' in line} == {'data', 'kobart/train', 'qwen3-4b/train'}, said
    assert 'kobart/evaluate runs again: num_beams was 0, now 2' in said
    [attempt] = read_fact(run/'experiment.json')['attempts']
    assert attempt['changed'] == {'num_beams': [None, 2]} and 'kobart/evaluate' in attempt['left'] and 'kobart/train' not in attempt['left']


def test_two_drivers_on_one_experiment(undisturbed, env, tmp_path):
    run = shutil.copytree(undisturbed.parent.parent, tmp_path, dirs_exist_ok=True)/'runs'/undisturbed.name
    (run/'qwen3-4b'/'train.json').unlink()
    before, first = len(events(run)), go(env, 'resume', run)
    while not any(e['event'] == 'start' for e in events(run)[before:]): time.sleep(0.05)
    assert state(run) == 'running'
    second = go(env, 'resume', run)
    said = second.communicate()[0]
    assert second.returncode == 2 and f'another process ({first.pid} on ' in said, said
    first.send_signal(signal.SIGKILL)
    first.communicate()
    time.sleep(1.5)
    assert state(run) == 'interrupted' and not of(run)
    third = go(env, 'resume', run)
    said = third.communicate()[0]
    assert third.returncode == 0 and state(run) == 'complete', said


def test_a_preflight_that_fails_takes_nothing_away(undisturbed, env, tmp_path):
    "The machine is fuller than before: what has succeeded stays, relative folders included"
    run = shutil.copytree(undisturbed.parent.parent, tmp_path, dirs_exist_ok=True)/'runs'/undisturbed.name
    (run/'kobart'/'evaluate.json').unlink()
    process = subprocess.Popen([*CALL, 'resume', 'x', '--runs', 'runs', '--stage-timeout', '0.5'], cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = process.communicate()[0]
    assert process.returncode == 1 and read_fact(run/'preflight.json')['error']['kind'] == 'timeout', said
    assert {f['status'] for f in facts(run) if f['stage'] == 'train'} == {'success'}
    process = subprocess.Popen([*CALL, 'resume', 'x', '--runs', 'runs'], cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = process.communicate()[0]
    assert process.returncode == 0 and 'train runs again' not in said and state(run) == 'complete', said
