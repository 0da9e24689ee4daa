"""The tree at the end of the README, from the notebooks' own promises: `python .ci/tree.py` writes it anew"""

import json
from pathlib import Path

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- tree -->", "<!-- end of the tree -->"
WIDTH = 119
PACKAGES = dict(
    korean="Korean texts, whatever they are of",
    runs="a stage, its facts, its folder",
    endpoints="models behind a URL",
    data="dialogues in",
    augment="more dialogues",
    scores="how good a summary is",
    models="what is trained",
    ensemble="one summary of many",
    training="fine-tuning",
    generation="writing",
    api="summaries from an API",
    checks="what goes wrong, before and after",
    pipeline="an experiment",
    report="the Korean report",
    commands="what is typed",
)
FOLDERS = {
    "nbs/explore/": "for people: data, one bad summary, two runs, a new model, a failure",
    "nbs/bench/": "how many times as fast, side by side; `make bench`",
    "nbs/sample/": "96 Korean dialogues written for this project; what a real model wrote of 16",
    "nbs/tables/": "simulations of the cards, done beforehand; `make table`",
    "nbs/text/": "messages, failures, labels and advice of the report (its sentences: modules/report/)",
    "dialsum/": "the package, exported from nbs/modules/; never edited",
    "runs/": "one folder an experiment: notebooks as executed, logs, models, predictions, fact files",
    "reports/": "Korean reports: Markdown with its figures, and the same as one HTML file",
    "tests/unit/": "what a notebook cannot say of itself: no process, no model, seconds",
    "tests/models/": "the same with toy models",
    "tests/contract/": "what people and tools rely on: command line, facts, notebooks, README; many rows",
    "tests/gpu/": "that a GPU computes as a CPU does; skipped where there is none",
    "tests/slow/": "kills, browsers, every model, real dialogues: at night",
    "tests/support/": "what tests share: toys, experiments made of facts alone",
}


def promise(path: Path) -> str:
    first = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
    return first.split("> ", 1)[1].strip().splitlines()[0]


def line(name: str, words: str, depth: int) -> str:
    "A name and what it is for, in one line"
    text = f"{'  ' * depth + name:32} {words}"
    assert len(text) <= WIDTH, f"{name}: its promise is {len(text) - WIDTH} characters too long"
    return text


def tree() -> str:
    nbs = ROOT / "nbs"
    lines = ["nbs/"]
    stages = sorted(nbs.glob("*.ipynb"), key=lambda p: (p.stem != "index", p.stem))
    lines += [line(p.name, promise(p), 1) for p in stages]
    lines.append("nbs/modules/")
    tops = sorted((nbs / "modules").glob("*.ipynb"))
    lines += [line(p.name, promise(p), 1) for p in tops]
    for package, words in PACKAGES.items():
        folder = nbs / "modules" / package
        lines.append(line(f"{package}/", words, 1))
        inside = [p for p in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts]
        inside.sort(key=lambda p: (len(p.parts), p.parts))
        lines += [line(p.relative_to(folder).as_posix(), promise(p), 2) for p in inside]
    lines += [line(name, words, 0) for name, words in FOLDERS.items()]
    return "\n".join(lines)


def block() -> str:
    return f"{BEGIN}\n```text\n{tree()}\n```\n{END}"


def main() -> None:
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    readme.write_text(before + block() + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
