"New dialogues keep what their summaries say, and come out the same everywhere"

import json
import random
import re
from collections import Counter

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.augment import DIALOGUE, LOCAL, SUMMARY, check, repeated, reworded, train  # noqa: F401
from support.chat import serving

from dialsum.augment.backends import backend
from dialsum.augment.methods import METHODS, method
from dialsum.augment.rewriting import BAND, syllable_rouge
from dialsum.augment.rows import augment, check_methods
from dialsum.augment.swap import swap_speakers
from dialsum.augment.synonyms import (
    ADJECTIVES,
    ADVERBS,
    NOUNS,
    VERBS,
    join_morphemes,
    lexicon,
    replacement_sites,
)
from dialsum.data.dialogues import read, to_csv
from dialsum.data.rows import check_disjoint
from dialsum.korean.names import kiwi
from dialsum.korean.tags import TAG
from dialsum.runs.errors import DialsumError
from dialsum.runs.places import sample_path


def named(text):
    "The words that hold a numeral or a name"
    found = [t for t in kiwi().tokenize(text) if t.tag in ("NNP", "NR", "SN", "SL", "MM")]
    return {w[0] for w in re.finditer(r"\S+", text) for t in found if w.start() <= t.start < w.end()}


def test_numerals_and_names_stay_as_often(train):
    texts = train.set_index("fname")["dialogue"]
    for row in augment(train, ["synonym", "turn_shuffle"], 2.0).itertuples():
        old, new = (Counter(text.split()) for text in (texts[row.origin], row.dialogue))
        assert all(old[word] == new[word] for word in named(texts[row.origin])), row.fname


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "#Person1#",
                "#Person2#",
                "#Person3#",
                "#Person12#",
                "#Person",
                "1#",
                "은",
                "는",
                "이",
                "가",
                "을",
                "를",
                "과",
                "와",
                "의",
                "도",
                "이랑",
                "랑",
                "이라고",
                "나",
                "에게",
                " ",
                ".",
                ":",
                "\n",
                "사",
                "2",
            ]
        )
    ).map("".join)
)
def test_swapping_twice_is_identity(text):
    assert swap_speakers(swap_speakers(text)) == text and Counter(
        TAG.findall(swap_speakers(swap_speakers(text)))
    ) == Counter(TAG.findall(text))


def test_swapping_takes_the_particles_along():
    assert swap_speakers(
        "#Person1#은 #Person2#를 보고 #Person1#이라고 적어 #Person2#와의 일을 #Person1#에게 맡긴다. #Person2#은"
    ) == (
        "#Person2#는 #Person1#을 보고 #Person2#라고 적어 #Person1#과의 일을 #Person2#에게 맡긴다. #Person1#는"
    )


def test_a_row_does_not_depend_on_the_others(train):
    alone = augment(train.iloc[[7]], ["synonym"], 1.0).iloc[0]
    among = augment(train, LOCAL, 4.0).set_index("fname").loc[alone["fname"]]
    assert among["dialogue"] == alone["dialogue"]


def test_names_never_clash(train):
    taken = pd.concat(
        [
            train,
            train.assign(fname=train["fname"] + "_instruction"),
            train.assign(fname=train["fname"] + "_instruction_2"),
        ],
        ignore_index=True,
    )
    check(taken, augment(taken, ["instruction", "speaker_swap"], 2.0))


def test_ratio_counts_rows_and_methods_share_it(train):
    made = augment(train, LOCAL, 0.5)
    assert len(made) == 32 and made["method"].value_counts().drop("turn_shuffle").between(10, 11).all()
    assert made.attrs["augmentation"]["methods"]["turn_shuffle"] == dict(
        made=1, left_out=63, dropped=0
    )  # the others go on for it


def test_new_rows_share_nothing_with_dev(train):
    check_disjoint(augment(train, LOCAL, 3.0), read(sample_path() / "dev.csv", summaries=True))


@pytest.mark.parametrize(
    ("methods", "ratio", "words"),
    [
        (["synonim"], 0.5, "did you mean 'synonym'"),
        (["swap_speaker"], 0.5, "did you mean 'speaker_swap'"),
        ([], 0.5, "at least one of"),
        (["synonym"], 0, "augmentation_ratio is 0"),
        (["synonym"], -1, "augmentation_ratio is -1"),
        (["synonym", "synonym"], 1.5, "at most 1"),
        (["synonym", "instruction"], float("nan"), "augmentation_ratio is nan"),
        (["instruction"], 0.001, "made no row of 64"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(methods, ratio, words, train):
    with pytest.raises(DialsumError, match=re.escape(words)) as e:
        augment(train, methods, ratio)
    assert "\n" not in str(e.value)


def test_a_method_without_its_backend_is_refused_before_anything_is_made(train, monkeypatch):
    monkeypatch.setitem(METHODS, "later", None)
    method(
        "later",
        obstacle=lambda: DialsumError("the augmentation method later needs an endpoint: give one."),
    )(lambda d, rng: pytest.fail("was called"))
    with pytest.raises(DialsumError, match="needs an endpoint"):
        check_methods(["instruction", "later"], 0.5)
    with pytest.raises(DialsumError, match="needs an endpoint"):
        augment(train, ["later"], 0.5)
    monkeypatch.setattr("dialsum.augment.synonyms.find_spec", lambda name: None)
    with pytest.raises(DialsumError, match="install kiwipiepy"):
        check_methods(["synonym"], 0.5)
    assert check_methods(["speaker_swap"], 0.5)


def test_what_a_method_spoils_is_dropped_and_counted(train, monkeypatch):
    monkeypatch.setitem(METHODS, "spoil", None)
    method("spoil", same=True)(lambda d, rng: dict(dialogue=re.sub(r"\d", "9", d.text).replace("세 ", "네 ")))
    made = augment(train, ["spoil", "instruction"], 1.0)
    assert set(made["method"]) == {"instruction"} and made.attrs["augmentation"]["methods"]["spoil"] == dict(
        made=0, left_out=0, dropped=64
    )


def test_the_lexicon_is_of_words_that_can_be_replaced():
    for part in (NOUNS, ADVERBS, VERBS, ADJECTIVES):
        for old, news in lexicon(part).items():
            assert (
                old
                and len(set(news)) == len(news)
                and old not in news
                and all(re.fullmatch("[가-힣]+", w) for w in (old, *news))
            )
    assert sum(len(part.split()) for part in (NOUNS, ADVERBS, VERBS, ADJECTIVES)) >= 150


@pytest.mark.parametrize(
    ("word", "particle", "joined"),
    [
        ("가게", ("은", "JX"), "가게는"),
        ("상점", ("는", "JX"), "상점은"),
        ("부엌", ("로", "JKB"), "부엌으로"),
        ("전철", ("으로", "JKB"), "전철로"),
        ("주방", ("와", "JC"), "주방과"),
        ("채소", ("이랑", "JC"), "채소랑"),
        ("달걀", ("나", "JX"), "달걀이나"),
        ("주방", ("를", "JKO"), "주방을"),
        ("핸드폰", ("가", "JKS"), "핸드폰이"),
    ],
)
def test_particles_agree(word, particle, joined):
    assert join_morphemes([(word, "NNG"), particle]) == joined


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("여기는 상점이에요.", ["가게예요"]),
        ("마실 음료수예요?", ["음료예요"]),
        ("부엌으로 오세요.", ["주방으로"]),
        ("어제 골랐어요.", ["선택했어요"]),
        ("선택하셨어요?", ["고르셨어요"]),
        ("정말 감사합니다.", ["정말로", "고맙습니다"]),
        ("늘 감사하는 마음이에요.", ["항상"]),
        ("이 선물은 감사해야 해.", []),
        ("재밌는 책", ["재미있는"]),
        ("더 저렴한데요.", ["싼데요"]),
        ("서울에 거주하는 사람", ["사는"]),
        ("정말?", []),
        ("#Person1#: 3번 상점", ["가게"]),
        ("'상점'에서", []),
    ],
)
def test_words_are_replaced_with_their_endings(text, expected):
    assert [news[0] for _, _, news in replacement_sites(text, set())] == expected


def test_a_word_of_the_summary_stays(train):
    row = train.iloc[[0]].assign(
        dialogue="#Person1#: 휴대폰을 부엌에 뒀어.\n#Person2#: 응.",
        summaries=[("#Person1#이 휴대폰을 둔 곳을 말한다.",)],
    )
    assert augment(row, ["synonym"], 1.0)["dialogue"].tolist() == [
        "#Person1#: 휴대폰을 주방에 뒀어.\n#Person2#: 응."
    ]


ASKED = "#Person1#: 방을 보러 왔습니다.\n#Person2#: {}\n#Person1#: 두 명입니다.\n#Person2#: {}\n#Person1#: 현금으로 하겠습니다.\n#Person2#: {}"


@pytest.mark.parametrize(
    ("first", "second", "after", "moves"),
    [
        ("일행은 몇 명이세요?", "요금은 무엇으로 내시겠어요?", "열쇠를 드릴게요.", True),
        ("일행은 몇 명이세요?", "그럼 요금은 무엇으로 내시겠어요?", "열쇠를 드릴게요.", False),
        ("일행은 몇 명이세요?", "요금은 무엇으로 내시겠어요?", "그거면 됩니다.", False),
        ("일행은 몇 명이세요?", "일행의 요금은 무엇으로 내시겠어요?", "열쇠를 드릴게요.", False),
        ("일행은 몇 명이시군요.", "요금은 무엇으로 내시겠어요?", "열쇠를 드릴게요.", False),
        ("또 일행은 몇 명이세요?", "요금은 무엇으로 내시겠어요?", "열쇠를 드릴게요.", False),
    ],
)
def test_only_exchanges_that_stand_alone_move(first, second, after, moves, train):
    row = train.iloc[[0]].assign(dialogue=ASKED.format(first, second, after))
    if not moves:
        with pytest.raises(DialsumError, match="made no row"):
            augment(row, ["turn_shuffle"], 1.0)
        return
    lines = row["dialogue"].iloc[0].split("\n")
    assert augment(row, ["turn_shuffle"], 1.0)["dialogue"].iloc[0].split("\n") == [
        lines[0],
        *lines[3:5],
        *lines[1:3],
        lines[5],
    ]


class Toy:
    "What an endpoint does with a dialogue: `spoil` gets what it would answer, and the dialogue"

    def __init__(self, spoil=lambda new, old: new):
        self.spoil, self.pivot = spoil, {}

    def __call__(self, n, asked, handler):
        prompt = asked["messages"][-1]["content"]
        old = prompt.split("\n\n")[-1]
        if prompt.startswith("Translate"):
            english = "\n".join(
                f"{line.split(':')[0]}: line {len(self.pivot)}.{i}" for i, line in enumerate(old.split("\n"))
            )
            self.pivot[english] = old
            return english
        old = self.pivot.get(old, old)
        return self.spoil(reworded(old), old)


@pytest.mark.parametrize("name", ["paraphrase", "back_translation"])
def test_an_endpoint_rewrites_dialogues(name, train, tmp_path):
    with serving(Toy()) as server:
        made = augment(train.head(32), [name], 1.0, backend=backend(server.url, "toy", tmp_path / "a.sqlite"))
        requests, seeds = len(server.seen), {asked["seed"] for asked in server.seen}
        again = augment(
            train.head(32), [name], 1.0, backend=backend(server.url, "toy", tmp_path / "a.sqlite")
        )
        assert (
            again.equals(made)
            and to_csv(again) == to_csv(made)
            and len(server.seen) == requests == (64 if name == "back_translation" else 32)
        )
        augment(train.head(32), [name], 1.0, 7, backend(server.url, "toy", tmp_path / "a.sqlite"))
        assert (
            len(server.seen) > requests
            and {asked["seed"] for asked in server.seen[requests:]}.isdisjoint(seeds)
            and all(asked["temperature"] > 0 for asked in server.seen)
        )
    facts, texts = made.attrs["augmentation"], train.set_index("fname")["dialogue"]
    check(train, made)
    assert (
        len(made) >= 10
        and facts["methods"][name] == dict(made=len(made), left_out=0, dropped=32 - len(made))
        and set(facts["reasons"].get(name, {})) <= {"copy"}
    )
    assert (
        facts["backend"]["name"] == "toy at 127.0.0.1"
        and facts["backend"]["requests"] == requests
        and len(seeds) == 32
    )
    for row in made.itertuples():
        assert (
            row.dialogue == reworded(texts[row.origin])
            and BAND[0] <= sum(syllable_rouge(texts[row.origin], row.dialogue)) / 3 <= BAND[1]
        )


def test_a_rewritten_row_does_not_depend_on_the_others(train):
    with serving(Toy()) as server:

        def ask(rows, methods):
            return (
                augment(rows, methods, 1.0, backend=backend(server.url, "toy"))
                .query("method == 'paraphrase'")
                .set_index("fname")["dialogue"]
            )

        many, seeds = (
            ask(train.head(24), ["paraphrase"]),
            {asked["messages"][0]["content"]: asked["seed"] for asked in server.seen},
        )
        server.seen.clear()
        few = ask(train.head(24).sample(9, random_state=1), ["instruction", "paraphrase", "synonym"])
        assert (
            len(few)
            and few.equals(many[few.index])
            and all(seeds[asked["messages"][0]["content"]] == asked["seed"] for asked in server.seen)
        )


def fine(new, old):
    return new


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (fine, ""),
        (
            lambda new, old: (
                f"<think>줄 수를 지키자.\n#Person1#: 아니다</think>\n\n네, 다시 쓴 대화입니다.\n```\n{new}\n```\n도움이 되었나요?"
            ),
            "",
        ),
        (lambda new, old: new.replace("\n", "\n\n").replace("#: ", "# :  "), ""),
        (lambda new, old: "", "empty"),
        (
            lambda new, old: (
                200,
                {},
                json.dumps(dict(choices=[dict(message=dict(content=None, refusal="no"))])).encode(),
            ),
            "empty",
        ),
        (lambda new, old: "죄송하지만 도와드릴 수 없습니다.", "turns"),
        (lambda new, old: new.rsplit("\n", 1)[0], "turns"),
        (lambda new, old: new + "\n#Person2#: 네.", "turns"),
        (lambda new, old: swap_speakers(new), "turns"),
        (lambda new, old: new.replace("#Person2#", "#Ferson2#"), "turns"),
        (lambda new, old: "\n".join(new.split("\n")[::-1]), "far"),
        (lambda new, old: new.replace("#PhoneNumber#", "전화번호"), "figures"),
        (lambda new, old: new.replace("45000", "54000"), "figures"),
        (lambda new, old: new.replace("Excel", "엑셀"), "figures"),
        (lambda new, old: new.replace("다들", "#Person3#이랑 다들"), "figures"),
        (lambda new, old: old, "copy"),
        (lambda new, old: old.replace("네,", "예,"), "copy"),
        (
            lambda new, old: new.replace(
                ".", ". 그러니까 말이에요, 있잖아요, 뭐랄까, 아시다시피 그렇게 되었다는 것이지요."
            ),
            "length",
        ),
        (lambda new, old: re.sub("[가-힣]{2}", "나무", new), "far"),
        (
            lambda new, old: re.sub(
                "(?<=Person1#: 어제)[^\\n]*",
                " 하늘이 맑고 바람이 시원하니 소풍을 떠나기에 더없이 좋았더라고 들었거든",
                new,
            ),
            "far",
        ),
        (lambda new, old: new.replace("김민수", "박철수"), "name"),
        (lambda new, old: new.replace("좋아했어요", "좋아했어요ありがとう"), "script"),
        (lambda new, old: new.replace("다들", "<b>다들</b>"), "figures"),
        (lambda new, old: new.replace("다들", "다\u200b들"), "control"),
    ],
)
def test_what_a_model_spoils_is_dropped_with_its_reason(spoil, reason, train):
    rows = train.iloc[[0]].assign(dialogue=DIALOGUE, summaries=[(SUMMARY,)])
    with serving(Toy(spoil)) as server:
        made = augment(
            pd.concat([rows, train.iloc[1:3]]),
            ["paraphrase", "instruction"],
            2.0,
            backend=backend(server.url, "toy"),
        )
        mine, facts = (
            made[(made["origin"] == rows["fname"].iloc[0]) & (made["method"] == "paraphrase")],
            made.attrs["augmentation"],
        )
        assert (
            len(mine) == (not reason)
            and facts["methods"]["instruction"]["made"] == 3
            and sum(facts["methods"]["paraphrase"].values()) == 3
        )
        assert not reason or facts["reasons"]["paraphrase"].get(reason)
        if reason:  # alone: nothing can be made, and that is said
            with pytest.raises(DialsumError, match=rf"of paraphrase 1 dropped: {reason} 1\)"):
                augment(rows, ["paraphrase"], 1.0, backend=backend(server.url, "toy"))
        else:
            assert mine["dialogue"].tolist() == [reworded(DIALOGUE)]


def test_lines_lost_in_english_are_not_translated_back(train):
    toy = Toy()

    def reply(n, asked, handler):
        told = toy(n, asked, handler)
        return (
            told.rsplit("\n", 1)[0]
            if asked["messages"][0]["content"].startswith("Translate")
            else pytest.fail("was asked to translate back")
        )

    with (
        serving(reply) as server,
        pytest.raises(DialsumError, match="of back_translation 3 dropped: turns 3"),
    ):
        augment(train.head(3), ["back_translation"], 1.0, backend=backend(server.url, "toy"))


def test_a_model_that_never_succeeds_is_not_asked_for_ever(train, capsys):
    rows = repeated(train, 3)
    with serving(Toy(lambda new, old: old)) as server:
        made = augment(rows, ["paraphrase", "instruction"], 1.0, backend=backend(server.url, "toy"))
        assert (
            len(server.seen) == 64
            and len(made) == len(rows)
            and made.attrs["augmentation"]["methods"]["paraphrase"] == dict(made=0, left_out=0, dropped=64)
        )
    assert (
        "paraphrase: toy at 127.0.0.1 wrote 64 dialogues and none could be kept (copy 64); it is not asked further."
        in capsys.readouterr().out
    )


def test_an_endpoint_that_fails_midway_loses_nothing(train, tmp_path, monkeypatch):
    toy, broken = Toy(), [True]
    with serving(
        lambda n, asked, handler: (401, {}, b"") if broken[0] and n > 20 else toy(n, asked, handler)
    ) as server:

        def ask():
            return augment(
                train.head(32), ["paraphrase"], 1.0, backend=backend(server.url, "toy", tmp_path / "a.sqlite")
            )

        with pytest.raises(DialsumError, match="answered 401"):
            ask()
        broken[0] = False
        sent = len(server.seen)
        assert len(ask()) >= 10 and len(server.seen) - sent <= 12
        assert ask().attrs["augmentation"]["backend"]["requests"] == 0


def test_progress_is_told(train, monkeypatch):
    ticks, seen = iter(range(0, 10**6, 6)), []
    monkeypatch.setattr("time.monotonic", lambda: float(next(ticks)))
    augment(train.head(4), ["instruction"], 1.0, progress=lambda *told: seen.append(told))
    assert [s[:2] for s in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("http://x",), "augmentation_model is empty"),
        (("", "solar"), "augmentation_backend is empty"),
        (("./folder", "solar"), "no address"),
        (("a,b,c",), "one folder, or two"),
        (("a,",), "one folder, or two"),
        ((",b",), "one folder, or two"),
        (("http://u:p@x/v1", "m"), "holds a user name"),
    ],
)
def test_a_backend_that_cannot_be_is_refused(given, words):
    with pytest.raises(DialsumError, match=words):
        backend(*given)
    assert backend("") is None is backend("  ", " ")


def test_a_model_of_many_languages_is_told_which(tmp_path):
    from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

    letters = dict.fromkeys("▁abcdefghijklmnopqrstuvwxyz.가나다라마바사아자차카타파하어디요 ")
    tok = NllbTokenizer(
        vocab={t: i for i, t in enumerate(["<s>", "<pad>", "</s>", "<unk>", *letters])}, merges=[]
    )
    config = M2M100Config(
        vocab_size=len(tok),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=64,
    )
    M2M100ForConditionalGeneration(config).save_pretrained(tmp_path / "nllb")
    tok.save_pretrained(tmp_path / "nllb")
    b = backend(str(tmp_path / "nllb"))
    c = b.checkpoints[0]
    assert (
        c.languages == ("kor_Hang", "eng_Latn")
        and b.missing("back_translation") == ""
        and "translates" in b.missing("paraphrase")
    )
    asked = []
    generate = c.model.generate
    c.model.generate = lambda **kw: (
        asked.append((kw["input_ids"][0].tolist(), kw["generation_config"].forced_bos_token_id))
        or generate(**kw)
    )
    assert len(b.rewrite("back_translation", ["#Person1#: 어디 가요"], [1])) == 1
    mark = c.tokenizer.convert_tokens_to_ids
    assert [(mark("kor_Hang") in ids, mark("eng_Latn") in ids, to) for ids, to in asked] == [
        (True, False, mark("eng_Latn")),
        (False, True, mark("kor_Hang")),
    ]


def test_syllable_rouge_is_rouge():
    from rouge_score.rouge_scorer import RougeScorer

    class Syllables:
        def tokenize(self, text):
            return list(re.sub(r"\s", "", TAG.sub("", text)))

    scorer, draw = RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=Syllables()), random.Random(0)
    for _ in range(200):
        a, b = ("".join(draw.choices("가나다 라마\n", k=draw.randrange(2, 40))) for _ in "ab")
        assert syllable_rouge(a, b) == pytest.approx([100 * s.fmeasure for s in scorer.score(a, b).values()])
