"""The report as one HTML file: names from hell, thirty models in five folds, and what browsers make of it"""

import io
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from itertools import product

import pytest
from support.experiments import demo, six_models_five_folds
from support.mermaid import mermaid_blocks
from support.page import (  # noqa: F401
    NAMES,
    SCHEMES,
    WIDTHS,
    both,
    chromium,
    crowd,
    faults,
    first_screen,
    named,
    printed,
    resumed,
    shown,
    write,
)


def shot(tab, name):
    "A screenshot, which must show something: its mean brightness of 255. Kept where DIALSUM_SCREENSHOTS names a folder"
    from PIL import Image, ImageStat

    png = tab.screenshot(full_page="DIALSUM_SCREENSHOTS" in os.environ, timeout=300_000)
    if folder := os.environ.get("DIALSUM_SCREENSHOTS"):
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/{name}.png", "wb") as f:
            f.write(png)
    image = Image.open(io.BytesIO(png)).convert("L")
    assert len(set(image.crop((0, 0, image.width, 600)).tobytes())) > 50, "nothing to see"
    return ImageStat.Stat(image).mean[0]


@pytest.fixture
def reports(build, hell, crowd, first_screen, tmp_path):
    "HTML reports by name"
    six = six_models_five_folds(build, lost=["polyglot-ko-12.8b", "kullm-v2"])[0]
    runs = dict(name=named(build, NAMES[4]), hell=hell, crowd=crowd, six=six)
    for run in runs.values():
        write(run, tmp_path)
    paths = {name: tmp_path / "reports" / f"{run.name}.html" for name, run in runs.items()}
    paths["first"] = tmp_path / "first.html"
    paths["first"].write_text(first_screen, encoding="utf-8")
    return paths


@pytest.mark.slow
def test_a_browser_shows_it(reports, chromium):
    for (name, path), scheme, width in product(reports.items(), SCHEMES, (*WIDTHS, 360)):
        with shown(chromium, None, width, scheme) as tab:
            said, asked = [], []
            tab.on("console", lambda message, said=said: said.append(message.text))
            tab.on("request", lambda request, asked=asked: asked.append(request.url.split(":")[0]))
            tab.goto(path.as_uri())
            assert not said and asked.count("file") == 1 and set(asked) <= {"file", "data"}
            assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
            bright = shot(tab, f"{name}-{scheme}-{width}")
            assert bright > 200 if scheme == "light" else bright < 110
            assert faults(tab) == [], (name, scheme, width)


@pytest.mark.slow
def test_paper_has_all_of_it(reports, chromium):
    for name, path in reports.items():
        sheets, wide = printed(chromium, path)
        assert sheets > 1 and wide == [], name


@pytest.mark.slow
def test_a_demo_takes_few_sheets(build, chromium, tmp_path):
    run = demo(build)[0]
    write(run, tmp_path)
    sheets, wide = printed(chromium, tmp_path / "reports" / f"{run.name}.html")
    assert 3 < sheets < 15 and wide == []


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "A JupyterLab: (its folder, a function from a notebook's name to its address)"
    top = tmp_path_factory.mktemp("lab")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    options = dict(token="t", port=port, port_retries=0, root_dir=top, open_browser=False, allow_root=True)
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        *(f"--ServerApp.{k}={v}" for k, v in options.items()),
        "--ServerApp.ip=127.0.0.1",
    ]
    with open(top / "lab.log", "w") as log:
        server = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ
            | dict(
                JUPYTER_CONFIG_DIR=str(top / ".config"),
                JUPYTERLAB_WORKSPACES_DIR=str(top / ".w"),
                JUPYTERLAB_SETTINGS_DIR=str(top / ".s"),
            ),
        )
    yield top, lambda name: f"http://127.0.0.1:{port}/lab/tree/{name}?token=t"
    server.terminate()
    with suppress(subprocess.TimeoutExpired):  # its shutdown is not what is tested
        server.wait(60)
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


@pytest.mark.slow
def test_jupyterlab_draws_the_diagrams(build, hell, resumed, chromium, lab):
    import time

    import nbformat
    import requests

    top, address = lab
    blocks = (
        mermaid_blocks(both(named(build, NAMES[3]))[0])
        + mermaid_blocks(both(hell)[0])[:2]
        + mermaid_blocks(both(resumed)[0])[:1]
    )
    nbformat.write(
        nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_markdown_cell(f"```mermaid\n{b}\n```") for b in blocks]
        ),
        top / "report.ipynb",
    )
    for _ in range(120):
        try:
            requests.get(address(""), timeout=5)
            break
        except requests.ConnectionError:
            time.sleep(0.5)
    tab = chromium.new_page(viewport=dict(width=1280, height=1600))
    tab.goto(address("report.ipynb"))
    drawn = tab.locator(".jp-RenderedMermaid:not(.jp-mod-warning) img")
    drawn.nth(len(blocks) - 1).wait_for(timeout=900_000)
    assert drawn.count() == len(blocks) and tab.locator(".jp-RenderedMermaid.jp-mod-warning").count() == 0
    sizes = drawn.evaluate_all("found => found.map(i => [i.naturalWidth, i.width, i.height])")
    tab.locator(".jp-Dialog").get_by_role("button", name="No Kernel").click()
    shot(tab, "jupyterlab")
    assert all(natural > 0 and width > 100 and height > 50 for natural, width, height in sizes), sizes
