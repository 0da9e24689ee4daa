"""Mermaid's own parser, where node and mermaid are installed"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.places import ROOT

PARSE = """
import { createRequire } from 'node:module'; import { pathToFileURL } from 'node:url'; import fs from 'node:fs';
const folder = process.argv[1], { JSDOM } = createRequire(folder + '/package.json')('jsdom');
const dom = new JSDOM('<!DOCTYPE html><body></body>'); globalThis.window = dom.window; globalThis.document = dom.window.document;
const mermaid = (await import(pathToFileURL(folder + '/node_modules/mermaid/dist/mermaid.core.mjs'))).default;
const out = [];
for (const text of JSON.parse(fs.readFileSync(0, 'utf8'))) try {
  await mermaid.parse(text);
  const { db } = await mermaid.mermaidAPI.getDiagramFromText(text);
  if (db.getTasks) out.push({ tasks: db.getTasks().filter(t => !t.milestone).map(t => [t.section, t.task.trim(), t.endTime - t.startTime, !!t.crit]), marks: db.getTasks().filter(t => t.milestone).map(t => [t.section, t.task.trim(), t.startTime - db.getTasks()[0].startTime]) });
  else out.push({ nodes: [...db.getVertices().values()].map(v => [v.id, v.text, v.classes]), edges: db.getEdges().length });
} catch (e) { out.push({ error: String(e.message || e) }); }
console.log(JSON.stringify(out));
"""


def parse(blocks):
    "What mermaid itself makes of each block; skips where it is not installed"
    folder = Path(os.environ.get("DIALSUM_MERMAID") or ROOT)
    if (
        not (folder / "node_modules" / "mermaid").is_dir()
        or not (folder / "node_modules" / "jsdom").is_dir()
        or not shutil.which("node")
    ):
        pytest.skip("needs node, and `npm install mermaid jsdom` in the folder that DIALSUM_MERMAID names")
    done = subprocess.run(
        ["node", "--input-type=module", "-e", PARSE, str(folder)],
        input=json.dumps(blocks),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return _shown(json.loads(done.stdout))


def _shown(found):
    "What mermaid has read as it shows it: entities are characters, twins are what they stand for"
    if isinstance(found, list):
        return [_shown(part) for part in found]
    if isinstance(found, dict):
        return {key: _shown(part) for key, part in found.items()}
    if not isinstance(found, str):
        return found
    text = re.sub("ﬂ°°(\\d+)¶ß", lambda entity: chr(int(entity[1])), found).replace("\u2060", "")
    return text.translate({ord(c) + 0xFEE0: c for c in "*`~_"})


DRAW = """async ([texts, theme]) => {
  mermaid.initialize({ startOnLoad: false, theme, securityLevel: 'strict' });
  document.body.innerHTML = texts.map(() => '<div class="drawn" style="width: 900px"></div>').join('');
  const places = [...document.querySelectorAll('.drawn')];
  for (let i = 0; i < texts.length; i++) places[i].innerHTML = (await mermaid.render('m' + i, texts[i])).svg;
}"""
SHOWN = """() => [...document.querySelectorAll('.drawn svg')].map(svg => {
  const area = (e, text) => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom, text] };
  const all = (names) => [...svg.querySelectorAll(names)];
  return {
    frame: area(svg, ''),
    nodes: all('g.node').filter(n => n.textContent.trim()).map(n => area(n.querySelector('.label-container'), n.querySelector('.nodeLabel').innerText)),
    arrows: all('path.flowchart-link').map(p => { const m = p.getScreenCTM(), long = p.getTotalLength();
      return [...Array(201).keys()].map(i => { const q = p.getPointAtLength(long * i / 200).matrixTransform(m); return [q.x, q.y] }) }),
    names: all('text.sectionTitle').map(t => area(t, t.textContent)),
    tasks: all('rect.task').map(r => area(r, '')),
    labels: all('text.taskText, text.taskTextOutsideLeft, text.taskTextOutsideRight').map(t => area(t, t.textContent)),
  }})"""


def draw(tab, blocks, theme="default"):
    "What a browser shows of each block, in pixels: areas as (left, top, right, bottom, text), points of arrows"
    bundle = Path(os.environ.get("DIALSUM_MERMAID") or ROOT) / "node_modules/mermaid/dist/mermaid.min.js"
    if not bundle.is_file():
        pytest.skip("needs `npm install mermaid` in the folder that DIALSUM_MERMAID names")
    tab.set_content("<!DOCTYPE html><html><head><meta charset='utf-8'></head><body></body></html>")
    tab.add_script_tag(path=bundle)
    tab.evaluate(DRAW, [blocks, theme])
    return tab.evaluate(SHOWN)


def mermaid_blocks(md):
    return re.findall(r"^```mermaid\n(.*?)\n```$", md, re.S | re.M)
