"What the tests of augment share"

import re
from collections import Counter

import pandas as pd
import pytest

from dialsum.augment.instructions import INSTRUCTIONS
from dialsum.augment.swap import swap_speakers
from dialsum.data.dialogues import read
from dialsum.korean.tags import TAG
from dialsum.runs.places import sample_path

LOCAL = ["speaker_swap", "synonym", "turn_shuffle", "instruction"]


@pytest.fixture(scope="module")
def train():
    return read(sample_path() / "train.csv", summaries=True)


def repeated(rows, times):
    return pd.concat([rows.assign(fname=f"r{i}_" + rows["fname"]) for i in range(times)], ignore_index=True)


def check(rows, made):
    "What must hold for every new row"
    origin = rows.set_index("fname").loc[made["origin"]].reset_index()
    assert (
        made["fname"].is_unique
        and not set(made["fname"]) & set(rows["fname"])
        and set(made["origin"]) <= set(rows["fname"])
    )
    assert (
        made["topic"].tolist() == origin["topic"].tolist() and not made.duplicated(["origin", "method"]).any()
    )
    for new, old in zip(made.itertuples(), origin.itertuples()):
        speakers = [
            [line.split(":")[0] for line in text.split("\n")] for text in (new.dialogue, old.dialogue)
        ]
        if new.method == "speaker_swap":
            assert (
                swap_speakers(new.dialogue) == old.dialogue != new.dialogue
                and tuple(map(swap_speakers, new.summaries)) == old.summaries
            )
            assert re.findall(r"\d+(?!#)", new.dialogue) == re.findall(r"\d+(?!#)", old.dialogue)
            continue
        assert new.summaries == old.summaries and speakers[0] == speakers[1]
        assert (new.dialogue == old.dialogue) == (new.method == "instruction") and (
            new.instruction in INSTRUCTIONS
        ) == (new.method == "instruction")
        for found in (TAG.findall, re.compile(r"\d+|[A-Za-z]+").findall):
            assert Counter(found(new.dialogue)) == Counter(found(old.dialogue))
        if new.method == "turn_shuffle":
            assert sorted(new.dialogue.split("\n")) == sorted(old.dialogue.split("\n"))


# Methods that need a model: endpoints are real servers on this machine, checkpoints have random weights and are made on the spot

REWORD = {
    "네,": "예,",
    "아니요": "아뇨",
    "감사합니다": "정말 고맙습니다",
    "괜찮아요": "문제없어요",
    "그럼": "그러면",
    "정말": "진짜",
    "너무": "몹시",
    "지금": "현재",
    "조금": "약간",
    "같이": "함께",
    "바로": "곧장",
    "해요.": "합니다.",
    "돼요.": "됩니다.",
    "있어요": "있습니다",
    "없어요": "없습니다",
    "예요.": "입니다.",
    "주세요": "주시면 좋겠어요",
    "싶어요": "싶습니다",
    "같아요": "듯합니다",
    "거든요": "니까요",
    "는데": "지만",
    "나요?": "는지요?",
    "까요?": "면 어때요?",
    "하고": "한 다음",
}


def reworded(text):
    for a, b in REWORD.items():
        text = text.replace(a, b)
    return text


DIALOGUE = (
    "#Person1#: 어제 김민수 씨가 회의에서 새 제품 이야기를 했다면서요? 반응이 어땠는지 정말 궁금해요.\n#Person2#: 네, 다들 좋아했어요. 그런데 가격이 45000원이면 조금 비싸다고 했어요. 같이 다시 계산해 주세요.\n"
    "#Person1#: 그럼 지금 같이 볼까요? #PhoneNumber#로 전화하면 바로 알려 줄 거예요. Excel 파일도 있어요."
)


SUMMARY = (
    "김민수가 회의에서 새 제품을 알렸고, #Person1#과 #Person2#는 45000원이라는 가격을 다시 계산하기로 한다."
)
