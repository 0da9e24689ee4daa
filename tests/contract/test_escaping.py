"No table of a notebook lets a text act in the reader's browser"

import ast
import json
import re

import pandas as pd
import pytest
from support.places import ROOT, notebooks

from dialsum.scores.escaping import html_table

IMAGE = "<img src=x onerror=alert(1)>"
NOTEBOOKS = notebooks()
OWN = {"html_table"}  # the one function that may style a table


def code_cells():
    for path in NOTEBOOKS:
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                yield path, "".join(cell["source"])


def styled(tree):
    "Attributes `.style` of anything but matplotlib, outside of `html_table`"
    inside = {
        id(node)
        for f in ast.walk(tree)
        if isinstance(f, ast.FunctionDef) and f.name in OWN
        for node in ast.walk(f)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node.attr != "style" or id(node) in inside:
            continue
        if "matplotlib" not in ast.unparse(node) and not ast.unparse(node).startswith("plt."):
            yield ast.unparse(node)


def unescaped(tree):
    "Calls that turn escaping off"
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.keyword)
            and node.arg == "escape"
            and ast.unparse(node.value) in ("False", "None")
        ):
            yield node.arg


def parsed(source):
    return ast.parse("\n".join(line for line in source.split("\n") if not re.match(r"\s*[%!]", line)))


def test_every_table_goes_through_the_one_that_escapes():
    found = [
        (path.name, call)
        for path, source in code_cells()
        for call in [*styled(parsed(source)), *unescaped(parsed(source))]
    ]
    assert found == []


def test_the_check_sees_what_it_is_for():
    for source in (
        "frame.style.format(precision=2)",
        "x = frame.head().style",
        "frame.to_html(escape=False)",
    ):
        assert [*styled(parsed(source)), *unescaped(parsed(source))]
    assert not [*styled(parsed("plt.style.use('default')\nmatplotlib.style.context([])"))]


TEXTS = dict(
    fname=IMAGE,
    dialogue=IMAGE,
    reference=IMAGE,
    prediction=IMAGE,
    summaries=(IMAGE,),
    topic=IMAGE,
    stopped=IMAGE,
    mean=1.0,
    score=1.0,
)
FRAME = pd.DataFrame([TEXTS] * 6)
STUBS = {  # what a stage's cell shows, from whatever a model or a user wrote
    "evaluate": dict(shown=FRAME),
    "epoch_candidates": dict(compared=FRAME),
    "soup": dict(compared=FRAME),
    "tta": dict(compared=FRAME),
    "folds": dict(folds=FRAME),
    "train": dict(worst=FRAME),
    "ensemble": dict(facts=dict(metrics=dict(rouge=dict(systems=[TEXTS]))), utility="rouge"),
    "preflight": dict(
        rows=[dict(model=IMAGE, severity="error", what=IMAGE, where=IMAGE, why=IMAGE, remedy=IMAGE)]
    ),
    "optimize": dict(best=type("Best", (), dict(table=FRAME))),
}


def shown(stage):
    "The last expressions of a stage's cells that are tables of text"
    for path, source in code_cells():
        if path != ROOT / "nbs" / f"{stage}.ipynb":
            continue
        last = parsed(source).body[-1:]
        if (
            last
            and isinstance(last[0], ast.Expr)
            and ("html_table" in ast.unparse(last[0]) or ".style" in ast.unparse(last[0]))
        ):
            yield ast.unparse(last[0])


@pytest.mark.parametrize("stage", STUBS)
def test_a_stage_s_table_shows_hostile_text_as_text(stage):

    tables = list(shown(stage))
    assert tables
    for table in tables:
        html = eval(table, dict(html_table=html_table, pd=pd), STUBS[stage])._repr_html_()
        assert "<img" not in html and "&lt;img src=x onerror=alert(1)&gt;" in html, table


def test_headers_labels_and_lists_are_escaped_too():

    frame = pd.DataFrame({IMAGE: [[IMAGE], None, 1.23456]}, index=[IMAGE, "b", "c"])
    frame.index.name = frame.columns.name = IMAGE
    html = html_table(frame, index=True).to_html()
    assert "<img" not in html and html.count("&lt;img") == 5 and "1.23" in html and "1.234" not in html
    assert html_table(frame).to_html().count("&lt;img") < 5  # labels are hidden


def test_an_executed_notebook_holds_no_element_that_a_text_made(tmp_path):
    import nbformat
    import papermill

    dev = tmp_path / "dev.csv"
    pd.DataFrame(dict(fname=["a", "b"], text=[IMAGE, "안녕"])).to_csv(dev, index=False)
    cells = [
        "import pandas as pd\nfrom dialsum.scores.escaping import html_table",
        f"html_table(pd.read_csv({str(dev)!r}), precision=1)",
    ]
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(c) for c in cells],
        metadata=dict(kernelspec=dict(name="python3", display_name="python3", language="python")),
    )
    nbformat.write(book, tmp_path / "in.ipynb")
    papermill.execute_notebook(str(tmp_path / "in.ipynb"), str(tmp_path / "out.ipynb"), progress_bar=False)
    html = "".join(
        json.loads((tmp_path / "out.ipynb").read_text())["cells"][1]["outputs"][0]["data"]["text/html"]
    )
    assert "&lt;img" in html and "<img" not in html
