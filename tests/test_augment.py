"New dialogues keep what their summaries say, and come out the same everywhere"
import hashlib, os, re, subprocess, sys, time
from collections import Counter

import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from dialsum.augment import ADJECTIVES, ADVERBS, INSTRUCTIONS, METHODS, NOUNS, VERBS, _join, _kiwi, _sites, augment, check_methods, lexicon, method, swap
from dialsum.data import TAG, check_disjoint, read, to_csv
from dialsum.runs import DialsumError, sample_path

LOCAL = ['speaker_swap', 'synonym', 'turn_shuffle', 'instruction']


@pytest.fixture(scope='module')
def train():
    return read(sample_path()/'train.csv', summaries=True)


def repeated(rows, times):
    return pd.concat([rows.assign(fname=f'r{i}_' + rows['fname']) for i in range(times)], ignore_index=True)


def named(text):
    "The words that hold a numeral or a name"
    found = [t for t in _kiwi().tokenize(text) if t.tag in ('NNP', 'NR', 'SN', 'SL', 'MM')]
    return {w[0] for w in re.finditer(r'\S+', text) for t in found if w.start() <= t.start < w.end()}


def check(rows, made):
    "What must hold for every new row"
    origin = rows.set_index('fname').loc[made['origin']].reset_index()
    assert made['fname'].is_unique and not set(made['fname']) & set(rows['fname']) and set(made['origin']) <= set(rows['fname'])
    assert made['topic'].tolist() == origin['topic'].tolist() and not made.duplicated(['origin', 'method']).any()
    for new, old in zip(made.itertuples(), origin.itertuples()):
        speakers = [[line.split(':')[0] for line in text.split('\n')] for text in (new.dialogue, old.dialogue)]
        if new.method == 'speaker_swap':
            assert swap(new.dialogue) == old.dialogue != new.dialogue and tuple(map(swap, new.summaries)) == old.summaries
            assert re.findall(r'\d+(?!#)', new.dialogue) == re.findall(r'\d+(?!#)', old.dialogue)
            continue
        assert new.summaries == old.summaries and speakers[0] == speakers[1]
        assert (new.dialogue == old.dialogue) == (new.method == 'instruction') and (new.instruction in INSTRUCTIONS) == (new.method == 'instruction')
        for found in (TAG.findall, re.compile(r'\d+|[A-Za-z]+').findall): assert Counter(found(new.dialogue)) == Counter(found(old.dialogue))
        if new.method == 'turn_shuffle': assert sorted(new.dialogue.split('\n')) == sorted(old.dialogue.split('\n'))


@pytest.mark.parametrize('name', LOCAL)
def test_every_row_of_the_sample_keeps_its_truth(name, train):
    made = augment(train, [name], 1.0)
    check(train, made)
    counts = made.attrs['augmentation']
    assert counts['made'] == len(made) == counts['methods'][name]['made'] and counts['asked'] == 64 == sum(counts['methods'][name].values())
    assert counts['methods'][name]['dropped'] == 0 and len(made) >= dict(turn_shuffle=1, synonym=45).get(name, 63)


def test_numerals_and_names_stay_as_often(train):
    texts = train.set_index('fname')['dialogue']
    for row in augment(train, ['synonym', 'turn_shuffle'], 2.0).itertuples():
        old, new = (Counter(text.split()) for text in (texts[row.origin], row.dialogue))
        assert all(old[word] == new[word] for word in named(texts[row.origin])), row.fname


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(['#Person1#', '#Person2#', '#Person3#', '#Person12#', '#Person', '1#', '은', '는', '이', '가', '을', '를', '과', '와', '의', '도', '이랑', '랑', '이라고', '나', '에게', ' ', '.', ':', '\n', '사', '2'])).map(''.join))
def test_swapping_twice_is_identity(text):
    assert swap(swap(text)) == text and Counter(TAG.findall(swap(swap(text)))) == Counter(TAG.findall(text))


def test_swapping_takes_the_particles_along():
    assert swap('#Person1#은 #Person2#를 보고 #Person1#이라고 적어 #Person2#와의 일을 #Person1#에게 맡긴다. #Person2#은') == (
        '#Person2#는 #Person1#을 보고 #Person2#라고 적어 #Person1#과의 일을 #Person2#에게 맡긴다. #Person1#는')


DIGEST = """
import hashlib, sys
from dialsum.augment import augment
from dialsum.data import read
from dialsum.runs import sample_path
made = augment(read(sample_path()/'train.csv', summaries=True), sys.argv[1:], 2.0, seed=7)
print(hashlib.sha256(made.to_json(orient='records', force_ascii=False).encode()).hexdigest())
"""


def test_same_seed_same_bytes_in_other_processes_and_any_order(train):
    def digest(hashseed, names):
        done = subprocess.run([sys.executable, '-c', DIGEST, *names], env=os.environ | dict(PYTHONHASHSEED=hashseed), capture_output=True, text=True, check=True)
        return done.stdout.strip()
    here = hashlib.sha256(augment(train, LOCAL, 2.0, seed=7).to_json(orient='records', force_ascii=False).encode()).hexdigest()
    assert digest('1', LOCAL) == digest('2', LOCAL[::-1] + LOCAL[:1]) == here
    assert to_csv(augment(train, LOCAL, 2.0, seed=8)) != to_csv(augment(train, LOCAL, 2.0, seed=7))


def test_a_row_does_not_depend_on_the_others(train):
    alone = augment(train.iloc[[7]], ['synonym'], 1.0).iloc[0]
    among = augment(train, LOCAL, 4.0).set_index('fname').loc[alone['fname']]
    assert among['dialogue'] == alone['dialogue']


def test_names_never_clash(train):
    taken = pd.concat([train, train.assign(fname=train['fname'] + '_instruction'), train.assign(fname=train['fname'] + '_instruction_2')], ignore_index=True)
    check(taken, augment(taken, ['instruction', 'speaker_swap'], 2.0))


def test_ratio_counts_rows_and_methods_share_it(train):
    made = augment(train, LOCAL, 0.5)
    assert len(made) == 32 and made['method'].value_counts().drop('turn_shuffle').between(10, 11).all()
    assert made.attrs['augmentation']['methods']['turn_shuffle'] == dict(made=1, left_out=63, dropped=0) # the others go on for it


def test_new_rows_share_nothing_with_dev(train):
    check_disjoint(augment(train, LOCAL, 3.0), read(sample_path()/'dev.csv', summaries=True))


@pytest.mark.parametrize('methods, ratio, words', [
    (['synonim'], 0.5, "did you mean 'synonym'"), (['swap_speaker'], 0.5, "did you mean 'speaker_swap'"), ([], 0.5, 'at least one of'),
    (['synonym'], 0, 'augmentation_ratio is 0'), (['synonym'], -1, 'augmentation_ratio is -1'), (['synonym', 'synonym'], 1.5, 'at most 1'),
    (['synonym', 'instruction'], float('nan'), 'augmentation_ratio is nan'), (['instruction'], 0.001, 'made no row of 64')])
def test_what_cannot_be_is_refused_in_one_sentence(methods, ratio, words, train):
    with pytest.raises(DialsumError, match=re.escape(words)) as e: augment(train, methods, ratio)
    assert '\n' not in str(e.value)


def test_a_method_without_its_backend_is_refused_before_anything_is_made(train, monkeypatch):
    monkeypatch.setitem(METHODS, 'later', None)
    method('later', missing=lambda: 'the augmentation method later needs an endpoint: give one.')(lambda d, rng: pytest.fail('was called'))
    with pytest.raises(DialsumError, match='needs an endpoint'): check_methods(['instruction', 'later'], 0.5)
    with pytest.raises(DialsumError, match='needs an endpoint'): augment(train, ['later'], 0.5)
    monkeypatch.setattr('dialsum.augment.find_spec', lambda name: None)
    with pytest.raises(DialsumError, match='install kiwipiepy'): check_methods(['synonym'], 0.5)
    assert check_methods(['speaker_swap'], 0.5)


def test_what_a_method_spoils_is_dropped_and_counted(train, monkeypatch):
    monkeypatch.setitem(METHODS, 'spoil', None)
    method('spoil', same=True)(lambda d, rng: dict(dialogue=re.sub(r'\d', '9', d.text).replace('세 ', '네 ')))
    made = augment(train, ['spoil', 'instruction'], 1.0)
    assert set(made['method']) == {'instruction'} and made.attrs['augmentation']['methods']['spoil'] == dict(made=0, left_out=0, dropped=64)


def test_the_lexicon_is_of_words_that_can_be_replaced():
    for part in (NOUNS, ADVERBS, VERBS, ADJECTIVES):
        for old, news in lexicon(part).items(): assert old and len(set(news)) == len(news) and old not in news and all(re.fullmatch('[가-힣]+', w) for w in (old, *news))
    assert sum(len(part.split()) for part in (NOUNS, ADVERBS, VERBS, ADJECTIVES)) >= 150


@pytest.mark.parametrize('word, particle, joined', [('가게', ('은', 'JX'), '가게는'), ('상점', ('는', 'JX'), '상점은'), ('부엌', ('로', 'JKB'), '부엌으로'), ('전철', ('으로', 'JKB'), '전철로'), ('주방', ('와', 'JC'), '주방과'),
    ('채소', ('이랑', 'JC'), '채소랑'), ('달걀', ('나', 'JX'), '달걀이나'), ('주방', ('를', 'JKO'), '주방을'), ('핸드폰', ('가', 'JKS'), '핸드폰이')])
def test_particles_agree(word, particle, joined):
    assert _join([(word, 'NNG'), particle]) == joined


@pytest.mark.parametrize('text, expected', [
    ('여기는 상점이에요.', ['가게예요']), ('마실 음료수예요?', ['음료예요']), ('부엌으로 오세요.', ['주방으로']), ('어제 골랐어요.', ['선택했어요']), ('선택하셨어요?', ['고르셨어요']), ('정말 감사합니다.', ['정말로', '고맙습니다']),
    ('늘 감사하는 마음이에요.', ['항상']), ('이 선물은 감사해야 해.', []), ('재밌는 책', ['재미있는']), ('더 저렴한데요.', ['싼데요']), ('서울에 거주하는 사람', ['사는']), ('정말?', []), ('#Person1#: 3번 상점', ['가게']), ("'상점'에서", [])])
def test_words_are_replaced_with_their_endings(text, expected):
    assert [news[0] for _, _, news in _sites(text, set())] == expected


def test_a_word_of_the_summary_stays(train):
    row = train.iloc[[0]].assign(dialogue='#Person1#: 휴대폰을 부엌에 뒀어.\n#Person2#: 응.', summaries=[('#Person1#이 휴대폰을 둔 곳을 말한다.',)])
    assert augment(row, ['synonym'], 1.0)['dialogue'].tolist() == ['#Person1#: 휴대폰을 주방에 뒀어.\n#Person2#: 응.']


ASKED = '#Person1#: 방을 보러 왔습니다.\n#Person2#: {}\n#Person1#: 두 명입니다.\n#Person2#: {}\n#Person1#: 현금으로 하겠습니다.\n#Person2#: {}'


@pytest.mark.parametrize('first, second, after, moves', [
    ('일행은 몇 명이세요?', '요금은 무엇으로 내시겠어요?', '열쇠를 드릴게요.', True), ('일행은 몇 명이세요?', '그럼 요금은 무엇으로 내시겠어요?', '열쇠를 드릴게요.', False),
    ('일행은 몇 명이세요?', '요금은 무엇으로 내시겠어요?', '그거면 됩니다.', False), ('일행은 몇 명이세요?', '일행의 요금은 무엇으로 내시겠어요?', '열쇠를 드릴게요.', False),
    ('일행은 몇 명이시군요.', '요금은 무엇으로 내시겠어요?', '열쇠를 드릴게요.', False), ('또 일행은 몇 명이세요?', '요금은 무엇으로 내시겠어요?', '열쇠를 드릴게요.', False)])
def test_only_exchanges_that_stand_alone_move(first, second, after, moves, train):
    row = train.iloc[[0]].assign(dialogue=ASKED.format(first, second, after))
    if not moves:
        with pytest.raises(DialsumError, match='made no row'): augment(row, ['turn_shuffle'], 1.0)
        return
    lines = row['dialogue'].iloc[0].split('\n')
    assert augment(row, ['turn_shuffle'], 1.0)['dialogue'].iloc[0].split('\n') == [lines[0], *lines[3:5], *lines[1:3], lines[5]]


def test_a_thousand_rows_in_ten_seconds(train):
    rows = repeated(train, 10)
    started = time.perf_counter()
    made = augment(rows, LOCAL, 1000/len(rows))
    assert len(made) == 1000 and time.perf_counter() - started < 10
    started = time.process_time()
    made = augment(repeated(train, 21), ['synonym'], 1000/(21*64))
    assert len(made) == 1000 and time.process_time() - started < 10


def test_real_rows(shared):
    rows = read(shared/'data'/'kodialogsum'/'train.csv', summaries=True).head(600)
    made = augment(rows, LOCAL, 2.0)
    check(rows, made)
    assert len(made) == 1200 and sum(c['dropped'] for c in made.attrs['augmentation']['methods'].values()) <= 3
