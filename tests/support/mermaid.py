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
    return json.loads(done.stdout)


def mermaid_blocks(md):
    return re.findall(r"^```mermaid\n(.*?)\n```$", md, re.S | re.M)
