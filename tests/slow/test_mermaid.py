"""What a browser makes of the report's mermaid: every label as it was, nothing over anything else, in light and dark"""

import pytest
from support.experiments import HELL
from support.mermaid import draw
from support.page import chromium  # noqa: F401
from support.pictures import Area
from support.plans import CASES, some_plan

from dialsum.report.document import mermaid_diagrams
from dialsum.report.html import sheet
from dialsum.report.markdown import diagram
from dialsum.report.texts import mermaid_line, mermaid_task

MARKDOWN = [
    "style a:#x;",
    "classDef b:#fff;",
    "1) x",
    "fa:fa-car",
    "$$x^2$$",
    "C:\\new",
    "https://a.b/c?d=e&f",
]
OTHERS = [
    "a@b.kr",
    "www.x.kr",
    "a_b _c_ __d__",
    "50% ~ 60%",
    "title x",
    "2026-01-01 x",
    "ﬂ°lt¶ß",
    "[a](b)",
    "call x()",
]
LABELS = [" ".join(text[:60].split()) for text in (*HELL, *MARKDOWN, *OTHERS) if text.strip()]
HIDDEN = ("\0", "\x07", "\x1b", "\u202e")  # taken out before


@pytest.fixture(scope="module")
def tab(chromium):
    return chromium.new_page(viewport=dict(width=1000, height=900))


def shown(text):  # without what shows as nothing; twins are what they stand for
    twins = {ord(c) + 0xFEE0: c for c in "*`~_"}
    return " ".join(text.replace("\u2060", "").translate(twins).split())


@pytest.mark.slow
def test_a_label_is_shown_as_it_is(tab):
    labels = [label for label in LABELS if not any(c in label for c in HIDDEN)]
    looks = '%%{init: {"flowchart": {"wrappingWidth": 900}}}%%\nflowchart TD\n'
    boxes = [f'{looks}a["{mermaid_line(label)}"]\nb["x<br/>{mermaid_line(label)}"]' for label in labels]
    for label, drawn in zip(labels, draw(tab, boxes)):
        assert [shown(text) for *_, text in drawn["nodes"]] == [label, f"x {label}"]
    times = "2026-01-01 00:00:00.000, 2026-01-01 00:00:05.000"
    head = "gantt\ndateFormat YYYY-MM-DD HH:mm:ss.SSS\n"
    bars = [f"{head}section {mermaid_line(n)}\n{mermaid_task(n)} :done, t1, {times}" for n in labels]
    for label, drawn in zip(labels, draw(tab, bars)):
        assert [shown(text) for *_, text in drawn["names"] + drawn["labels"]] == [label, label]


def areas(found):
    return [Area(*each) for each in found]


CROWDED = pytest.mark.xfail(  # our own drawing in the HTML has no such arrow (tests/unit/test_diagrams.py)
    strict=True, reason="mermaid draws arrows straight between two full columns, past boxes of other widths"
)
PLANS = [*CASES, 0, pytest.param(1, marks=CROWDED), *range(2, 6)]


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS)
def test_nothing_lies_over_anything_else(tab, plan):
    e = CASES[plan]() if plan in CASES else some_plan(plan)
    for theme in ("default", "dark"):
        *paths, bars, boxes = draw(tab, [d.mermaid() for d in mermaid_diagrams(e)], theme)
        frame, names, labels, tasks = (
            Area(*bars["frame"]),
            *map(areas, (bars["names"], bars["labels"], bars["tasks"])),
        )
        assert names and len(labels) == len(tasks)
        assert all(frame.holds(each) for each in (*names, *labels, *tasks))
        assert not [(n.text, each.text) for n in names for each in (*labels, *tasks) if n.meets(each)]
        assert min(task.right - task.left for task in tasks) >= 4
        for drawn in (boxes, *paths):
            nodes = areas(drawn["nodes"])
            inner = [Area(n.left + 2, n.top + 2, n.right - 2, n.bottom - 2, n.text) for n in nodes]
            assert all(Area(*drawn["frame"]).holds(node) for node in nodes)
            for points in drawn["arrows"]:
                assert not [box.text for box in inner if any(box.has(point) for point in points)]


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 800, 1400])
def test_a_page_shows_a_diagram_in_its_own_size(chromium, width):
    tab = chromium.new_page(viewport=dict(width=width, height=900))
    drawings = mermaid_diagrams(CASES["broken"]())
    text = "\n\n".join(["# 그림", "## 그림", *map(diagram, drawings)])
    tab.set_content(sheet(text, {d.mermaid(): d.svg() for d in drawings}))
    sizes = tab.evaluate("""[...document.querySelectorAll('svg')].map(svg => [
      svg.getBoundingClientRect().width, Number(svg.getAttribute('width')),
      Math.min(...[...svg.querySelectorAll('text')].map(t => parseFloat(getComputedStyle(t).fontSize)))])""")
    assert len(sizes) == 4
    for shown_width, own_width, letters in sizes:
        assert shown_width == pytest.approx(own_width, abs=0.5) and letters >= 11
    tab.close()
