"""What is wrong with a Korean text, and with what a report claims: particles, marks that show, placeholders, terms

`PYTHONPATH=tests python -m support.korean REPORT.md [RUN]` prints what it finds in a report; with the run folder also
what the facts do not bear out. Dialogues and summaries, which are quoted, and code are no text of ours."""

import re
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from dialsum.korean.particles import particle
from dialsum.report.experiment import Experiment, is_replica, only_chance, read_experiment
from dialsum.report.numbers import fact_numbers
from dialsum.scores.metrics import ScoredMetrics
from dialsum.training.metrics import TrainMetrics


@dataclass(frozen=True)
class Flaw:
    "Something wrong with a text"

    kind: str  # 'particle', 'mark', 'placeholder', 'term', 'english', 'plain ending', 'blank', 'bracket' or 'claim'
    text: str  # where, with a few characters around
    what: str  # is wrong

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}: {self.text}"


@cache
def rules() -> dict:
    return tomllib.loads(Path(__file__).with_name("korean.toml").read_text(encoding="utf-8"))


# what a reader sees

CODE = "\ue000"  # stands before and behind a code span


def spoken(inline: Token) -> str:
    "What a reader sees of a paragraph or a cell; code between two `CODE`"
    parts = []
    for token in inline.children or []:
        if token.type == "code_inline":
            parts.append(f"{CODE}{token.content}{CODE}")
        elif token.type in ("softbreak", "hardbreak"):
            parts.append(" ")
        elif token.type == "html_inline" and token.content.startswith("<br"):
            parts.append(" \n")
        elif token.type == "text":
            parts.append(token.content)
    return "".join(parts)


def blocks(markdown: str) -> list[str]:
    "The paragraphs, headings, items and cells of a document; what is quoted from dialogues and models aside"
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    texts, quotes, head, column = [], 0, [], 0
    for before, token in zip([None, *tokens], tokens):
        quotes += token.type == "blockquote_open"
        quotes -= token.type == "blockquote_close"
        if token.type == "thead_open":
            head = []
        elif token.type == "tr_open":
            column = 0
        elif token.type == "html_block":
            texts += re.findall(r"<summary>(.*?)</summary>", token.content)
        elif token.type == "inline":
            text = spoken(token)
            if before.type == "th_open":
                head.append(text)
            is_cell = before.type == "td_open"
            foreign = is_cell and column < len(head) and head[column] == "요약"
            column += is_cell
            if not foreign and not (quotes and not text.startswith("축소 모형")):
                texts.append(text)
    return [text for text in texts if not text.startswith("참조 요약 ") and not re.match(r"#\w+#", text)]


def without_code(text: str) -> str:  # a box in place of each code span
    return re.sub(f"{CODE}[^{CODE}]*{CODE}", "□", text)


def around(text: str, start: int, end: int) -> str:
    return text[max(0, start - 25) : end + 15].replace(CODE, "`")


def found(kind: str, what: str, pattern: str, text: str) -> list[Flaw]:
    return [Flaw(kind, around(text, m.start(), m.end()), what) for m in re.finditer(pattern, text)]


# particles

BRACKETS = {")": "(", "]": "[", "}": "{", "’": "‘", "”": "“", "」": "「"}
PAIRS = (
    *("으로/로", "이라고/라고", "이라는/라는", "이나/나", "이고/고", "이며/며", "이면/면", "이어서/여서"),
    *("은/는", "이/가", "을/를", "과/와"),
)
FORMS = {form: pair for pair in PAIRS for form in pair.split("/")}
AFTER = r"(?=의|도|만|는|부터|[\s.,:;!?)\]’”」·/]|$)"
FOREIGN_END = rf"(?<=[A-Za-z0-9%)\]’”」{CODE}])({'|'.join(sorted(FORMS, key=len, reverse=True))}){AFTER}"


def has_final(letter: str) -> bool:  # whether a syllable of Hangul ends in a consonant
    return particle(letter, "은/는") == "은"


def before_brackets(text: str) -> str:
    "Text without the brackets at its end, which are not read"
    while text and text[-1] in ")]}":
        closing, depth = text[-1], 0
        for i in range(len(text) - 1, -1, -1):
            depth += (text[i] == closing) - (text[i] == BRACKETS[closing])
            if not depth:
                break
        if depth or not i:
            return text
        text = text[:i]
    return text


def wrong_after_names(text: str) -> list[Flaw]:
    "Particles behind Latin letters, numbers, code and brackets"
    flaws = []
    for m in re.finditer(FOREIGN_END, text):
        word = before_brackets(text[: m.start()].replace(CODE, ""))
        fitting = particle(word.rstrip("’”」"), FORMS[m[1]])
        if fitting != m[1]:
            flaws.append(Flaw("particle", around(text, m.start(), m.end()), f"{fitting}, not {m[1]}"))
    return flaws


def wrong_after_hangul(text: str) -> list[Flaw]:
    "Particles behind Korean words, where no other word ends like that"
    flaws = []
    exceptions = set(rules()["particles"]["exceptions"].split())
    nouns = set(rules()["particles"]["nouns"].split())
    for m in re.finditer(r"(?<![가-힣])([가-힣]+?)(으로|은|는|이|가|을|를|과|와|로)(?![가-힣])", text):
        word, form = m[1], m[2]
        known = any(word == noun or (word.endswith(noun) and len(noun) > 1) for noun in nouns)
        ends_so = form in ("는", "이", "가") or any((word + form).endswith(end) for end in exceptions)
        if ends_so and not known:  # may be the end of a verb, or of another noun
            continue
        fitting = particle(word, FORMS[form])
        if fitting != form:
            flaws.append(Flaw("particle", around(text, m.start(), m.end()), f"{fitting}, not {form}"))
    return flaws


def particles(text: str) -> list[Flaw]:
    open_ones = found("particle", "open", r"은\(는\)|이\(가\)|을\(를\)|과\(와\)|\(으\)로|\(이\)", text)
    return open_ones + wrong_after_names(text) + wrong_after_hangul(without_code(text))


# what is shown and should not be


def marks(text: str) -> list[Flaw]:
    return found(
        "mark", "shown as text", r"\*\*|(?<!\w)__|`|</?(?:b|ins|details|summary)>", without_code(text)
    )


def placeholders(text: str) -> list[Flaw]:
    bare = without_code(text)
    left = r"\{[^{}]*\}|\{\{|\}\}|(?<![A-Za-z])(?:None|nan|NaN|null|Undefined|TODO)(?![A-Za-z])"
    empty = r"\(\s*\)|\[\s*\]|\(,|,\s*\)|:\s*\.(?:\s|$)|\(\s*–\s*\)"
    subject = r"–(?:은|는|이|가|을|를|과|와|으로|로|입니다|점|개|초)(?![가-힣])"
    return (
        found("placeholder", "left in the text", left, bare)
        + found("placeholder", "nothing where something was to stand", empty, bare)
        + found("placeholder", "a dash as a part of a sentence", subject, bare)
        + found(
            "placeholder",
            "left in code",
            r"\{[a-z_]+\}|\bNone\b",
            "".join(re.findall(f"{CODE}dialsum[^{CODE}]*", text)),
        )
    )


def terms(text: str) -> list[Flaw]:
    flaws = []
    for pattern, right in rules()["terms"].items():
        flaws += found("term", f"write {right}", pattern, without_code(text))
    return flaws


SMALL_WORDS = (
    "the a an is are was were be of to in on for with not and or has have it this that than from by at no"
)


def english(text: str) -> list[Flaw]:
    flaws = []
    for m in re.finditer(r"[A-Za-z']+(?:[ ,]+[A-Za-z']+){2,}", without_code(text)):
        words = m[0].replace(",", " ").split()
        plain = [word for word in words if word.islower()]  # names are no sentence
        if len(plain) >= 3 or set(SMALL_WORDS.split()) & set(words):
            flaws.append(Flaw("english", around(text, m.start(), m.end()), "an English sentence"))
    return flaws


def endings(text: str) -> list[Flaw]:
    bare = without_code(text)
    plain = r"(?<![니이])다(?=[.!](?:\s|$))|(?<!니)(?:한|된|없|있|었|았|였|했|이)다[.!]?(?=\s*$)"
    spoken_style = r"(?:어요|아요|해요|세요|에요|예요|군요|네요|죠)[.!?]"
    return found("plain ending", "write 합니다", plain, bare) + found(
        "plain ending", "write 합니다", spoken_style, bare
    )


def blanks(text: str) -> list[Flaw]:
    bare = without_code(text)
    return (
        found("blank", "two blanks", r"(?<=\S) {2,}(?=\S)", bare)
        + found("blank", "a blank before a mark", r"(?<=[가-힣\w)]) (?=[.,;!?](?:\s|$))", bare)
        + found("blank", "two marks", r"(?<!\.)\.\.(?!\.)|,,|,\.|\.,|\?\.|:\.", bare)
        + found(
            "blank",
            "no blank behind a comma or a full stop",
            r"(?<=[가-힣)□]),(?=[가-힣\d□])|(?<=다)\.(?=[가-힣])",
            bare,
        )
    )


def brackets(text: str) -> list[Flaw]:
    opened: list[str] = []
    for c in without_code(text):
        if c in BRACKETS.values():
            opened.append(c)
        elif c in BRACKETS and (not opened or opened.pop() != BRACKETS[c]):
            return [Flaw("bracket", text[:60], f"{c} without {BRACKETS[c]}")]
    return [Flaw("bracket", text[:60], f"{opened[-1]} is never closed")] if opened else []


CHECKS = (particles, marks, placeholders, terms, english, endings, blanks, brackets)


def flaws_of_text(text: str) -> list[Flaw]:
    "What is wrong with a sentence or a cell; code stands in backticks"
    inline = MarkdownIt("commonmark").parseInline(text)[0]
    return [flaw for check in CHECKS for flaw in check(spoken(inline))]


def flaws_of_document(markdown: str) -> list[Flaw]:
    "What is wrong with the text of a document"
    return [flaw for text in blocks(markdown) for check in CHECKS for flaw in check(text)]


# what a report claims


def tables(markdown: str) -> list[tuple[str, list[str], list[list[str]]]]:
    "(heading that it stands under, its head, its rows) of each table; cells as they are seen"
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    heading, rows, every = "", [], []
    for before, token in zip([None, *tokens], tokens):
        if token.type == "inline" and before.type == "heading_open":
            heading = spoken(token)
        elif token.type == "table_open":
            rows = []
        elif token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and before.type in ("th_open", "td_open"):
            rows[-1].append(spoken(token).strip())
        elif token.type == "table_close":
            every.append((heading, rows[0], rows[1:]))
    return every


KINDS = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": "rougeL", "평균": "mean", "ROUGE 평균": "mean"}


def told_scores(e: Experiment) -> dict[str, dict[str, set[str]]]:
    "System as people write it → kind of score → the texts that a table may show"
    told: dict[str, dict[str, set[str]]] = {}
    for step in e.of(TrainMetrics):  # of each epoch
        for evaluation in step.metrics.evaluations:
            by_kind = dict(rouge1=evaluation.rouge1, rouge2=evaluation.rouge2, rougeL=evaluation.rougeL)
            for kind, value in (by_kind | dict(mean=evaluation.rouge_mean)).items():
                if value is not None:
                    told.setdefault(step.label, {}).setdefault(kind, set()).add(f"{value:.2f}")
    for step in e.steps:
        if step.fold is not None or not isinstance(step.metrics, ScoredMetrics):
            continue
        for tags in ("split", "whole"):
            for kind in set(KINDS.values()):
                score = step.metrics.score(tags, kind)
                if score:
                    system = step.label if step.stage in ("evaluate", "folds") else step.name
                    told.setdefault(system, {}).setdefault(kind, set()).add(f"{score.f:.2f}")
    return told


def wrong_scores(markdown: str, e: Experiment) -> list[Flaw]:
    "Scores in tables that the facts do not have"
    told, flaws = told_scores(e), []
    for heading, head, rows in tables(markdown):
        for column, title in enumerate(head):
            kind = KINDS.get(re.sub(r"\s*\[.*", "", title))
            for row in rows if kind and column else ():
                shown = re.match(r"\d+\.\d\d", row[column])
                if shown and row[0] in told and shown[0] not in told[row[0]].get(kind, {shown[0]}):
                    flaws.append(
                        Flaw("claim", f"{heading}: {row[0]} {title} {shown[0]}", "no score of the facts")
                    )
    return flaws


def first_screen(markdown: str) -> str:
    "What stands before the second chapter"
    return "\n## ".join(markdown.split("\n## ")[:2])


def known_numbers(e: Experiment) -> set[str]:
    "Every number that a sentence on scores may hold, with two decimals: of the facts, of what is tested, and gaps"
    numbers = [row.value for row in fact_numbers(e)]
    for row in e.differences[0].values():
        tested = (row.mean, row.low, row.high, row.difference, row.difference_low, row.difference_high)
        numbers += [value for value in tested if value is not None]
    scores = [s.metrics.score() for s in e.steps if s.fold is None and isinstance(s.metrics, ScoredMetrics)]
    scores += [s.metrics.score(row=row) for s in e.ranking for row in ("null", "lead2")]
    means = [score.f for score in scores if score]
    numbers += [one - other for one in means for other in means]
    return {f"{abs(number):.2f}" for number in numbers}


def unknown_numbers(markdown: str, e: Experiment) -> list[Flaw]:
    "Scores in the first screen that the facts do not have"
    known = known_numbers(e)
    text = re.sub(r"```.*?```|`[^`]*`", "", first_screen(markdown), flags=re.S)
    scores = re.finditer(r"(?<![\w.])\d+\.\d\d(?![\d.])(?!%| ?GiB|초)", text)
    return [
        Flaw("claim", around(text, *m.span()), "no number of the facts") for m in scores if m[0] not in known
    ]


def of_model(markdown: str, label: str) -> str:
    "What stands under headings of a model"
    parts = re.split(r"^(#{2,4} .*)$", markdown, flags=re.M)
    return "\n".join(
        body for head, body in zip(parts[1::2], parts[2::2]) if head.lstrip("# ").strip() == label
    )


def wrong_verdicts(markdown: str, e: Experiment) -> list[Flaw]:
    "Verdicts on a model that do not follow from its curve and its scores"
    flaws = []
    for step in e.of(TrainMetrics):
        losses = [point.loss for point in step.metrics.evaluations if point.loss is not None]
        rose = bool(losses) and losses[-1] > 1.01 * min(losses)
        if rose and "과적합하지 않았습니다" in of_model(markdown, step.label):
            flaws.append(Flaw("claim", step.label, "its dev loss rose by more than 1 %"))
    for step in e.ranking:
        if only_chance(step) and re.search(r"\*\*강점\*\*|\| 강점 ", of_model(markdown, step.label)):
            flaws.append(Flaw("claim", step.label, "a strength of a model at chance"))
    return flaws


def wrong_counts(markdown: str, e: Experiment) -> list[Flaw]:
    "Numbers of models and stages in the first screen that are not those of the facts"
    first = first_screen(markdown)
    due = [s for s in e.steps if s.status != "skipped"]
    good = [s for s in due if s.status == "success"]
    finished = [m for m in e.by_model.values() if all(s.status in ("success", "skipped") for s in m)]
    counts = {
        r"모델 (\d+)/\d+": len(finished),
        r"모델 \d+/(\d+)": len(e.by_model),
        r"단계 (\d+)/\d+": len(good),
        r"단계 \d+/(\d+)": len(due),
        r"실패 (\d+)개": sum(s.status == "failed" for s in due),
        r"미실행 (\d+)개": sum(s.status == "blocked" for s in due),
        r"전체 (\d+)개 단계": len(due),
        r"단계 가운데 (\d+)개": len(good),
        r"모델 (\d+)개(?:가 모두| 가운데|가 끝까지)": len(e.by_model),
    }
    flaws = []
    for pattern, count in counts.items():
        flaws += [
            Flaw("claim", m[0], f"there are {count}")
            for m in re.finditer(pattern, first)
            if int(m[1]) != count
        ]
    if len(good) < len(due) and re.search(r"단계가 모두 성공", first):
        flaws.append(Flaw("claim", "단계가 모두 성공", f"{len(due) - len(good)} did not"))
    if is_replica(e) and "축소 모형" not in first:
        flaws.append(Flaw("claim", first[:60], "does not say that models were replicas"))
    return flaws


def significance(markdown: str, e: Experiment) -> list[Flaw]:
    "Differences that are called significant between models at chance"
    if not e.ranking or not all(map(only_chance, e.ranking)):
        return []
    said = r"통계적으로 유의(?:합니다|한 차이입니다|하게 높)"
    return found("claim", "all models are at chance", said, markdown)


CLAIMS = (wrong_scores, unknown_numbers, wrong_verdicts, wrong_counts, significance)


def flaws_of_report(markdown: str, e: Experiment) -> list[Flaw]:
    "What is wrong with a report's text, and with what it claims"
    return flaws_of_document(markdown) + [flaw for check in CLAIMS for flaw in check(markdown, e)]


if __name__ == "__main__":
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    told = (
        flaws_of_report(text, read_experiment(Path(sys.argv[2]))) if sys.argv[2:] else flaws_of_document(text)
    )
    print(*told, sep="\n")
    sys.exit(bool(told))
