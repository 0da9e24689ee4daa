"""The report as one HTML file: names from hell, thirty models in five folds, and what browsers make of it"""

import re
from collections import Counter
from itertools import product
from xml.etree import ElementTree

import pytest
from support.mermaid import mermaid_blocks, parse
from support.page import NAMES, both, chromium, crowd, crowded, named, resumed, write  # noqa: F401

from dialsum.report.diagrams.states import MANY
from dialsum.report.document import SECTIONS, mermaid_diagrams, render
from dialsum.report.experiment import read_experiment
from dialsum.report.html import page
from dialsum.report.sections.timeline import flowchart, gantt

TAGS = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "div",
    "header",
    "nav",
    "strong",
    "ol",
    "ul",
    "li",
    "a",
    "main",
    "h1",
    "h2",
    "h3",
    "p",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "code",
    "pre",
    "blockquote",
    "br",
    "em",
    "s",
    "b",
    "ins",
    "hr",
    "details",
    "summary",
    "figure",
    "img",
    "figcaption",
    "svg",
    "rect",
    "text",
    "line",
    "path",
}


ATTRIBUTES = {
    "lang",
    "charset",
    "http-equiv",
    "content",
    "name",
    "class",
    "aria-label",
    "href",
    "rel",
    "id",
    "tabindex",
    "src",
    "width",
    "height",
    "alt",
    "style",
    "role",
    "viewBox",
    "x",
    "y",
    "rx",
    "x1",
    "x2",
    "y1",
    "y2",
    "d",
    "text-anchor",
    "font-size",
    "font-weight",
    "stroke-dasharray",
    "start",
}


def read(html):
    "A page's elements, by a parser that forgives nothing; fails where one is not ours, or loads or runs something"
    elements = list(ElementTree.fromstring(html).iter())
    for e in elements:
        e.tag = e.tag.split("}")[-1]
    assert {e.tag for e in elements} <= TAGS and {a for e in elements for a in e.attrib} <= ATTRIBUTES
    for e in elements:
        assert "src" not in e.attrib or e.get("src").startswith("data:image/png;base64,")
        assert "href" not in e.attrib or e.get("href").startswith("#")
        assert "style" not in e.attrib or re.fullmatch(
            r"max-width:100%;min-width:[\d.]+px;height:auto", e.get("style")
        )
    for style in re.findall("<style>(.*?)</style>", html, re.S):
        assert not re.search(r"url\(|@import|expression", style)
    return elements


def words(element):
    return " ".join("".join(element.itertext()).split())


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_name_breaks_nothing(build, name):
    md, html = both(named(build, name))
    elements = read(html)

    def count(found):
        return Counter(
            e.tag for e in found if e.tag not in ("text", "strong", "b", "ins")
        )  # long labels have more lines, only a tag is a speaker, and words are marked

    assert count(elements) == count(read(both(named(build, f"{'plain':.<{len(name)}}"))[1]))
    shown = " ".join(name.split())
    assert words(elements[0].find(".//h1")) == f"실험 보고서: {shown}" == elements[0].findtext(".//title")
    assert sum(shown in words(e) for e in elements if e.tag in ("td", "h3", "pre", "code", "blockquote")) >= 8
    assert [words(e) for e in elements if e.tag == "h2"] == list(SECTIONS) and [
        line[3:] for line in md.split("\n") if line.startswith("## ")
    ] == list(SECTIONS)
    assert sum(e.tag == "svg" for e in elements) == len(mermaid_blocks(md)) == 3 and "```mermaid" not in html
    for found in parse(mermaid_blocks(md)):
        assert "error" not in found, found


def test_hostile_text_stays_text(hell, tmp_path):
    md, html = write(hell, tmp_path)
    elements = read(html)
    assert [words(e) for e in elements if e.tag == "h2"] == list(SECTIONS)
    assert (
        sum(e.tag == "svg" for e in elements) == len(mermaid_blocks(md))
        and sum(e.tag == "img" for e in elements) == md.count("\n![") > 0
    )
    assert "<script>alert(1)</script>" in words(elements[0]) and not re.search("[\0\x07\x1b\u202e]", html)


def test_everything_is_inside(build, tmp_path):
    run, leave = build(models=["kobart"])
    leave("data")
    for stage in ("train", "evaluate", "predict", "submit"):
        leave(stage, "kobart" * (stage != "submit"))
    md, html = write(run, tmp_path)
    assert write(run, tmp_path) == (md, html)
    elements = read(html)
    ids = [e.get("id") for e in elements if e.get("id")]
    assert len(ids) == len(set(ids)) and [e.get("href")[1:] for e in elements if e.tag == "a"] == [
        i for i in ids if f'<h2 id="{i}"' in html
    ]
    assert all(e.get("alt") and int(e.get("width")) > 99 for e in elements if e.tag == "img") and all(
        e[0].text for e in elements if e.tag == "svg"
    )
    assert (
        elements[0].get("lang") == "ko"
        and "default-src 'none'" in html
        and "http://www.w3.org/2000/svg" in html
        and len(re.findall("https?://", html)) == html.count("<svg")
    )
    without = page(read_experiment(run), {})
    assert "<img" not in without and "<em>모델별 학습 손실과 검증 손실</em>" in without


@pytest.mark.parametrize(
    ("models", "drawn", "arrows", "told"),
    [
        (15, dict(success=45, failed=1, blocked=1), 15 * 5, "학습(폴드 5개 포함) 실패 1, 성공 5"),
        (30, dict(success=31, failed=1), 30 * 2, "13개 단계 실패 1, 미실행 1, 성공 11"),
        (100, dict(success=3, failed=1), 4, "모델 99개<br/>1287개 단계 성공"),
    ],
    ids=["folds", "models", "ends"],
)
def test_what_is_too_much_to_see_stands_together(build, models, drawn, arrows, told):
    run = crowded(build, models)
    e = read_experiment(run)
    bars, boxes = gantt(e), flowchart(e)
    assert (
        len(e.steps) == models * 13 + 2
        and len(bars.grouped) == len(boxes.grouped.nodes) == sum(drawn.values()) <= MANY
    )
    md, html = both(run)
    drawings = [e for e in read(html) if e.tag == "svg"]

    def marks(drawing):
        return Counter(
            r.get("class") for r in drawing.iter("rect") if r.get("class") not in ("band", "plain")
        )

    assert marks(drawings[1]) == drawn and sum(marks(drawings[0]).values()) == sum(drawn.values())
    assert (
        told in boxes.mermaid() and boxes.mermaid().count("-->") == len(boxes.grouped.edges) == arrows < 500
    )  # where mermaid gives up
    chart, flow, *_ = parse(mermaid_blocks(md))
    assert len(chart["tasks"]) == len(flow["nodes"]) == sum(drawn.values())


@pytest.mark.parametrize("models", [15, 30], ids=["folds", "models"])
def test_long_names_that_begin_alike_stand_apart(build, models):
    long, short = (read_experiment(crowded(build, models, name)) for name in ("x" * 70, "m"))
    for items in (lambda e: flowchart(e).grouped.nodes, lambda e: gantt(e).grouped):
        assert [i.state for i in items(long)] == [i.state for i in items(short)]
    assert len(gantt(long).sections) == len(gantt(short).sections) > models
    assert max(len(line) for n in flowchart(long).grouped.nodes for line in n.lines) == 60


@pytest.mark.parametrize("models", [3, 30, 100])
def test_what_one_failure_stopped_stands_together(build, models):
    run, leave = build(
        name="20261121_012847_stopped", models=[f"model {m}" for m in range(models)], k_folds=5
    )
    leave("data", status="failed", message="no rows")
    for m, k, stage in product(range(models), (None, *range(5)), ("train", "evaluate")):
        leave(stage, f"model {m}", "blocked", fold=k, message="blocked", kind="blocked")
    for m in range(models):
        leave("predict", f"model {m}", "blocked", message="blocked", kind="blocked")
    leave("submit", status="blocked", message="blocked", kind="blocked")
    e = read_experiment(run)
    md, blocks = render(e), [d.mermaid() for d in mermaid_diagrams(e)]
    assert (
        len(mermaid_diagrams(e)[2].nodes) == 2 + models * 13 + 1
        and len(mermaid_diagrams(e)[2].grouped.nodes) <= MANY
        and f"model 0 폴드 4 학습 외 {models * 13 + 1 - 12:,}개\n" in md
    )
    chart, _flow, path = parse(mermaid_blocks(md))
    assert all(b.count("-->") < 500 for b in blocks) and len(chart["tasks"]) == 1
    assert len(path["nodes"]) == {3: 42, 30: 33, 100: 4}[models] and path["edges"] == len(path["nodes"]) - 1
    assert ("여러 단계를 하나로 묶었으며" in md) == (models > 3)


def test_each_resumption_is_marked(resumed):
    md, html = both(resumed)
    assert (
        parse(mermaid_blocks(md))[0]["marks"]
        == [["이어서 실행", "2회차", 7000], ["이어서 실행", "3회차", 33000]]
        and len(parse(mermaid_blocks(md))[0]["tasks"]) == 8
    )
    assert (
        sum(words(e) == "이어서 실행" for e in read(html) if e.tag == "text") == 2
        and "3번 이어서 실행되었습니다" in md
    )


OUTSIDE = """[...document.querySelectorAll('svg')].flatMap(svg => {
  const all = svg.viewBox.baseVal, boxes = [...svg.querySelectorAll('rect[rx="5"]')].map(r => r.getBBox());
  return [...svg.querySelectorAll('text')].filter(t => { const b = t.getBBox(), x = b.x + b.width/2, y = b.y + b.height/2;
    const own = boxes.find(r => r.x <= x && x <= r.x + r.width && r.y <= y && y <= r.y + r.height) || all;
    return b.x < own.x || b.x + b.width > own.x + own.width || b.y < own.y - 1 || b.y + b.height > own.y + own.height + 1 }).map(t => t.textContent)})"""


def test_labels_stay_within_their_boxes(build, hell, crowd, chromium):
    tab = chromium.new_page()
    for run in (hell, crowd, *(named(build, name) for name in NAMES[:6])):
        tab.set_content(both(run)[1])
        assert tab.evaluate('document.querySelectorAll("svg").length') >= 3 and tab.evaluate(OUTSIDE) == []
