"""The report as one HTML file: names from hell, thirty models in five folds, and what browsers make of it"""

import re
from collections import Counter
from itertools import product
from xml.etree import ElementTree

import pytest
from support.experiments import six_models_five_folds
from support.mermaid import mermaid_blocks, parse
from support.page import (  # noqa: F401
    FIGURE_TEXT,
    FIRST_SCREEN,
    NAMES,
    both,
    chromium,
    crowd,
    crowded,
    faults,
    first_screen,
    named,
    printed,
    resumed,
    shown,
    write,
)

from dialsum.report.diagrams.states import MANY
from dialsum.report.document import mermaid_diagrams, render
from dialsum.report.experiment import read_experiment
from dialsum.report.figures import FIGURES, PHONE, figure_files, svg_size
from dialsum.report.html import page, sheet
from dialsum.report.labels import labels_of
from dialsum.report.stage_charts import flowchart, gantt

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
    "section",
    "picture",
    "source",
    "span",
    "wbr",
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
    "media",
    "srcset",
    "data-label",
}


def read(html):
    "A page's elements, by a parser that forgives nothing; fails where one is not ours, or loads or runs something"
    elements = list(ElementTree.fromstring(html).iter())
    for e in elements:
        e.tag = e.tag.split("}")[-1]
    assert {e.tag for e in elements} <= TAGS and {a for e in elements for a in e.attrib} <= ATTRIBUTES
    for e in elements:
        assert all(
            e.get(a).startswith("data:image/svg+xml;base64,") for a in ("src", "srcset") if a in e.attrib
        )
        assert (
            "href" not in e.attrib or e.get("href").startswith("#") or e.get("href").endswith("/numbers.csv")
        )
    for style in re.findall("<style>(.*?)</style>", html, re.S):
        assert not re.search(r"url\(|@import|expression", style)
    return elements


def words(element):
    return " ".join("".join(element.itertext()).split())


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (i > 1)) for i, name in enumerate(NAMES)],
    ids=range(len(NAMES)),
)
def test_a_name_breaks_nothing(build, name):
    md, html = both(named(build, name))
    elements = read(html)

    def count(found):
        return Counter(
            e.tag for e in found if e.tag not in ("text", "strong", "b", "ins", "span", "wbr")
        )  # long labels have more lines, only a tag is a speaker, words are marked, and kept whole or not

    assert count(elements) == count(read(both(named(build, f"{'plain':.<{len(name)}}"))[1]))
    shown = " ".join(name.split())
    assert words(elements[0].find(".//h1")) == f"실험 보고서: {shown}" == elements[0].findtext(".//title")
    assert sum(shown in words(e) for e in elements if e.tag in ("td", "h3", "pre", "code", "blockquote")) >= 6
    headings = [line[3:] for line in md.split("\n") if line.startswith("## ")]
    assert [words(e) for e in elements if e.tag == "h2"] == headings
    assert headings and set(headings) <= set(labels_of("section").values())
    assert sum(e.tag == "svg" for e in elements) == len(mermaid_blocks(md)) == 3 and "```mermaid" not in html
    for found in parse(mermaid_blocks(md)):
        assert "error" not in found, found


@pytest.mark.slow
def test_hostile_text_stays_text(hell, tmp_path):
    md, html = write(hell, tmp_path)
    elements = read(html)
    headings = [words(e) for e in elements if e.tag == "h2"]
    assert headings and set(headings) <= set(labels_of("section").values())
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
    links = [e.get("href") for e in elements if e.tag == "a"]
    assert len(ids) == len(set(ids)) and [link[1:] for link in links if link.startswith("#")] == [
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
    ("models", "drawn_bars", "drawn", "arrows", "told"),
    [
        (15, 47, dict(success=14 + 3, failed=1, blocked=1), 14 * 2 + 4, "학습(폴드 5개 포함) 실패 1, 성공 5"),
        (30, 32, dict(success=29 + 3, failed=1, blocked=1), 29 * 2 + 4, "model 29 13개 단계 성공"),
        pytest.param(
            *(100, 4, dict(success=3, failed=1), 4, "모델 99개 1287개 단계 성공"), marks=pytest.mark.slow
        ),
    ],
    ids=["folds", "models", "ends"],
)
def test_what_is_too_much_to_see_stands_together(build, models, drawn_bars, drawn, arrows, told):
    run = crowded(build, models)
    e = read_experiment(run)
    bars, boxes = gantt(e), flowchart(e)
    assert len(e.steps) == models * 13 + 2
    assert len(bars.grouped) == drawn_bars <= MANY
    assert len(boxes.grouped.nodes) == sum(drawn.values()) <= MANY
    md, html = both(run)
    drawings = [e for e in read(html) if e.tag == "svg"]

    def marks(drawing):
        return Counter(
            r.get("class") for r in drawing.iter("rect") if r.get("class") not in ("band", "plain")
        )

    assert marks(drawings[-1]) == drawn and sum(marks(drawings[-2]).values()) == drawn_bars
    assert (
        told in boxes.mermaid().replace("<br/>", " ")
        and boxes.mermaid().count("-->") == len(boxes.grouped.edges) == arrows < 500
    )  # where mermaid gives up
    *_, chart, flow = parse(mermaid_blocks(md))
    assert len(chart["tasks"]) == drawn_bars and len(flow["nodes"]) == sum(drawn.values())


@pytest.mark.parametrize("models", [15, 30], ids=["folds", "models"])
def test_long_names_that_begin_alike_stand_apart(build, models):
    long, short = (read_experiment(crowded(build, models, name)) for name in ("x" * 70, "m"))
    for items in (lambda e: flowchart(e).grouped.nodes, lambda e: gantt(e).grouped):
        assert [i.state for i in items(long)] == [i.state for i in items(short)]
    assert len(gantt(long).sections) == len(gantt(short).sections) > models
    assert max(len(line) for n in flowchart(long).grouped.nodes for line in n.lines) == 60


@pytest.mark.parametrize("models", [3, 30, pytest.param(100, marks=pytest.mark.slow)])
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
        mermaid_diagrams(e)[0].nodes[-1].lines[0] == f"실행되지 않은 단계 {models * 13 + 1}개"
        and md.count("의 학습(전체, 폴드 0–4)·평가(전체, 폴드 0–4)·예측, 제출입니다.") == 1
    )
    path, chart, _flow = parse(mermaid_blocks(md))
    assert all(b.count("-->") < 500 for b in blocks) and len(chart["tasks"]) == 1
    assert len(path["nodes"]) == 3 and path["edges"] == 2
    assert ("여러 단계를 하나로 묶었습니다" in md) == (models > 3)


def test_each_resumption_is_marked(resumed):
    md, html = both(resumed)
    assert (
        parse(mermaid_blocks(md))[0]["marks"]
        == [["이어서 실행", "2회차", 7000], ["이어서 실행", "3회차", 33000]]
        and len(parse(mermaid_blocks(md))[0]["tasks"]) == 8
    )
    assert [words(e) for e in read(html) if e.tag == "text" and "회차" in words(e)] == [
        "이어서 실행(2회차)",
        "이어서 실행(3회차)",
    ] and "3번 이어서 실행되었습니다" in md


OUTSIDE = """[...document.querySelectorAll('svg')].flatMap(svg => {
  const all = svg.viewBox.baseVal, boxes = [...svg.querySelectorAll('rect[rx="5"]')].map(r => r.getBBox());
  return [...svg.querySelectorAll('text')].filter(t => { const b = t.getBBox(), x = b.x + b.width/2, y = b.y + b.height/2;
    const own = boxes.find(r => r.x <= x && x <= r.x + r.width && r.y <= y && y <= r.y + r.height) || all;
    return b.x < own.x || b.x + b.width > own.x + own.width || b.y < own.y - 1 || b.y + b.height > own.y + own.height + 1 }).map(t => t.textContent)})"""


@pytest.mark.slow
def test_labels_stay_within_their_boxes(build, hell, crowd, chromium):
    tab = chromium.new_page()
    for run in (hell, crowd, *(named(build, name) for name in NAMES[:6])):
        tab.set_content(both(run)[1])
        assert tab.evaluate('document.querySelectorAll("svg").length') >= 3 and tab.evaluate(OUTSIDE) == []


def test_the_first_screen_comes_before_the_contents(first_screen):
    elements = read(first_screen)
    header = next(e for e in elements if e.tag == "header")
    inside = [e.tag for e in header.iter()]
    assert inside.index("p") < inside.index("table") < inside.index("figure") and "a" not in inside
    order = [e.tag for e in elements if e.tag in ("header", "nav", "main")]
    assert order == ["header", "nav", "main"] and [e.tag for e in elements if e.tag == "nav"] == ["nav"]
    folded = next(e for e in elements if e.tag == "nav")[0]
    assert folded.tag == "details" and "open" not in folded.attrib  # on a phone one line


def test_states_and_priorities_have_their_colours(first_screen):
    marks = [(e.get("class"), words(e)) for e in read(first_screen) if e.tag == "span"]
    states = [
        ("state success", "성공"),
        ("state success", "성공"),
        ("state failed", "실패"),
        ("state blocked", "미실행"),
        ("state missing", "기록 없음"),
    ]
    assert [m for m in marks if m[0] and m[0].startswith("state") and m[1][0] != "P"] == states
    assert [m for m in marks if m[1][0] == "P"] == [
        *((f"state p{i}", f"P{i}") for i in range(4)),
        ("state p0", "P0"),
    ]
    assert [e.get("class") for e in read(first_screen) if "성공했고" in words(e) and e.tag == "p"] == [
        "banner blocked"
    ]


def test_texts_stand_left_and_numbers_right():
    rows = [
        "| 무엇 | 값 | 까닭 |",
        "| --- | ---: | ---: |",
        "| a | 1.5 [1.0, 2.0] | 느립니다 |",
        "| b | – | 3 |",
    ]
    elements = read(sheet("# t\n\n## s\n\n" + "\n".join(rows)))
    assert [e.get("class") for e in elements if e.tag in ("th", "td")] == [None, "number", None] * 3


def test_figures_are_drawn_for_a_phone(build):
    e = read_experiment(six_models_five_folds(build, lost=["kullm-v2"])[0])
    for name, figure in FIGURES.items():
        files = figure_files(figure, e)
        narrow_width, wide_width = svg_size(files.narrow)[0], svg_size(files.wide)[0]
        assert narrow_width == pytest.approx(PHONE * 96) and 500 < wide_width <= 840, name
        for narrow in (False, True):
            drawn = figure.draw(figure.steps(e), narrow)
            letters = [t.get_fontsize() for t in drawn.findobj(lambda o: hasattr(o, "get_fontsize"))]
            assert min(letters) * 96 / 72 >= FIGURE_TEXT, name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_the_first_screen(first_screen, chromium, scheme):
    with shown(chromium, first_screen, 390, scheme) as tab:
        assert faults(tab) == []
        actions, models = tab.locator("header .table").all()
        assert actions.locator("td").first.evaluate("e => getComputedStyle(e).display") == "flow-root"
        assert models.evaluate("e => e.scrollWidth > e.clientWidth")
        name = models.locator("td").first
        models.scroll_into_view_if_needed()
        before, cut = name.bounding_box(), models.screenshot()
        models.evaluate("e => e.scrollTo(9999, 0)")
        assert name.bounding_box() == before  # it stays
        assert edge(cut) != edge(models.screenshot())  # a shadow, as long as there is more


def edge(png):
    "How bright a picture is where it ends on the right"
    import io

    from PIL import Image, ImageStat

    image = Image.open(io.BytesIO(png)).convert("L")
    return round(ImageStat.Stat(image.crop((image.width - 8, 8, image.width - 4, 40))).mean[0])


def test_paper_has_everything(first_screen, chromium):
    sheets, wide = printed(chromium, first_screen)
    assert sheets == 2 and wide == []
    with shown(chromium, first_screen, 688) as tab:
        tab.emulate_media(media="print")
        folded = tab.locator("main details pre")
        assert folded.evaluate("e => e.checkVisibility({contentVisibilityAuto: true}) && e.clientHeight > 0")
        assert not tab.locator("nav").is_visible()
        assert tab.locator("thead").first.evaluate("e => getComputedStyle(e).display") == "table-header-group"


FAULTS = {  # what is wrong → what makes it so: a rule, or what is replaced
    "text under 11 px": "p { font-size: 10px }",
    "contrast under 4.5": "p { color: #999999 }",
    "the page scrolls sideways": ".banner { width: 2000px }",
    "scrolls without a hint": ".table { background: none }",
    "scrolls, but not by the keyboard": (' tabindex="0"', ""),
    "scrolls without a name": (" aria-label=", " data-label="),
    "is cut": ".table { overflow: hidden }",
    "leaves its frame": ".table { overflow: visible }",
    "a first column leaves with the others": ".scrolls td:first-child { position: static }",
    "a first column takes more than half": ".scrolls td:first-child { min-width: 250px }",
    "an option is broken": "pre { width: 12em } code span { white-space: inherit }",
    "text of a figure under 11 px": ".shot img { width: 200px }",
    "text leaves its diagram": (
        "</main>",
        '<svg width="50" height="20"><text y="15">넘치는 글자들</text></svg></main>',
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_checks_see_what_they_are_for(first_screen, chromium, fault):
    html, change = first_screen, FAULTS[fault]
    rule = isinstance(change, str)
    changed = (
        html.replace("</style>\n</head>", f"{change}</style>\n</head>") if rule else html.replace(*change)
    )
    assert changed != html
    with shown(chromium, changed, 390) as tab:
        assert fault in [sentence.split(" (")[0] for sentence in faults(tab)]


def test_the_contrast_of_a_diagram_is_that_with_what_stands_behind(chromium):
    picture = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="200" height="60"><rect width="200" height="60" fill="{}"/>'
        '<text x="20" y="30" fill="#1f2328" opacity="{}">글자</text></svg>'
    )
    for fill, opacity, wrong in (("#d3f0e0", 1, 0), ("#57230f", 1, 1), ("#d3f0e0", 0.4, 1)):
        with shown(chromium, f"<main>{picture.format(fill, opacity)}</main>", 390) as tab:
            assert len(faults(tab)) == wrong
