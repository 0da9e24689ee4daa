"What the tests of damage share"

import re


def without_tags(text):
    from dialsum.korean.tags import TAG

    return TAG.sub("", text).strip()


# diagnostic → what a pipeline did to a summary, words of its warning, the fault's kind
DAMAGE = {
    "literal_nothing": (lambda text: "nan", "missing value's name", "literal_nothing"),
    "no_hangul": (
        lambda text: "They talk about the umbrella and the meeting.",
        "have no Hangul",
        "no_hangul",
    ),
    "control_tokens": (lambda text: f"[BOS] {text}</s><pad><pad>", "control tokens", "control_token"),
    "lost_tags": (without_tags, "no tag at all", "lost_tags"),
    "empty": (lambda text: "", "are empty", "empty"),
    "broken_tags": (lambda text: re.sub(r"#(Person\d)#", r"\1", text), "broken tags", "broken_tag"),
}


TOKENIZER = "ROUGE-1 = ROUGE-L"
