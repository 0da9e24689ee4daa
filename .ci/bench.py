"""What `nbs/bench` measures, as one table: every notebook there is run, and `reports/benchmarks.md` is written from the ratios that they leave.

    python .ci/bench.py [--table FILE] [--keep FOLDER] [-p PARAMETER VALUE] [NAME …]    # all of them, or those of these names; nothing else should run beside them

A table keeps the lines of other machines and of what is not measured again, what people have written under "Not reached", and the section that `.ci/gpu.py` writes. What `IN_TEST` makes small is no measurement: it is written to another table only.
"""

import argparse
import json
import os
import platform
import re
import sys
import tempfile
from contextlib import suppress
from datetime import date
from importlib.metadata import version
from pathlib import Path

import papermill
from gpu import split_section

ROOT = Path(__file__).resolve().parents[1]
TABLE, BENCHES = ROOT / "reports" / "benchmarks.md", ROOT / "nbs" / "bench"
HEAD = """# Benchmarks

Each line is a ratio that was measured side by side in one run: the median of its rounds, and the lowest and highest of them. `make bench` runs the notebooks in `nbs/bench` and writes this table.

| notebook | what | against | times | rounds | wanted | where and when |
| --- | --- | --- | ---: | --- | ---: | --- |
"""


NOT_REACHED = "## Not reached"  # by how much, why, and what was tried: written by hand


def machine() -> str:
    "The processor, by the name that it gives itself"
    cpuinfo = Path("/proc/cpuinfo")
    found = (
        re.findall(r"^(?:model name|flags)\s*: (.*)$", cpuinfo.read_text(), re.M) if cpuinfo.is_file() else []
    )
    name = found[0] if found else platform.processor() or platform.machine()
    name += f", {os.cpu_count()} cores"
    features = [word for word in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if found and word in found[1]]
    return f"{name} ({features[-1]})" if features else name


def where_and_when(here: str) -> str:
    "The processor, its memory, what computes, and the day"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    releases = [f"{name} {'.'.join(version(name).split('.')[:2])}" for name in ("torch", "transformers")]
    return ", ".join([here, f"{memory:.0f} GiB", *releases, str(date.today())])


def line(name: str, ratio: dict, where: str) -> str:
    "One row of the table"
    wanted = f"{ratio['wanted']:g}" if ratio["wanted"] else "–"
    note = f" ({ratio['note']})" if ratio["note"] else ""
    rounds = f"{ratio['low']:.1f} to {ratio['high']:.1f}"
    cells = (name, ratio["what"] + note, ratio["against"], f"{ratio['times']:.1f}", rounds, wanted, where)
    return f"| {' | '.join(cells)} |"


def is_replaced(row: str, measured: list[dict], here: str) -> bool:
    "Whether a line tells what was now measured again on the same machine; what it lacked something for stays"
    cells = [cell.strip() for cell in row.strip("| ").split(" | ")]
    return cells[-1].startswith(f"{here}, ") and any(
        cells[1].startswith(ratio["what"]) and cells[2] == ratio["against"] for ratio in measured
    )


def typed(value: str) -> int | float | str:
    "A parameter's value as papermill's own command line reads it"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(value)
    return value


def main(names: list[str], table: Path, keep: Path | None = None, **parameters: int | float | str) -> int:
    if os.environ.get("IN_TEST") and table == TABLE:
        print(
            "IN_TEST is set, so nothing would be measured: unset it, or name another --table", file=sys.stderr
        )
        return 2
    notebooks = {p.stem: p for p in sorted(BENCHES.glob("*.ipynb"))}
    if unknown := set(names) - set(notebooks):
        print(
            f"no benchmark of the name {', '.join(sorted(unknown))}; there are {', '.join(notebooks)}",
            file=sys.stderr,
        )
        return 2
    text = table.read_text(encoding="utf-8") if table.is_file() else ""
    ratios, section = split_section(text)
    ratios, remarks = split_section(ratios, NOT_REACHED)
    old = ratios.splitlines()
    rows = {name: [row for row in old if row.startswith(f"| {name} |")] for name in notebooks}
    here = machine()
    where = where_and_when(here)
    for name in names or notebooks:
        with tempfile.TemporaryDirectory() as folder:
            result = Path(folder, "ratios.json")
            papermill.execute_notebook(
                notebooks[name],
                Path(keep or folder, f"{name}.ipynb"),
                parameters | dict(result=str(result)),
                cwd=BENCHES,
                kernel_name="python3",
            )
            measured = json.loads(result.read_text(encoding="utf-8"))
        fresh = [line(name, ratio, where) for ratio in measured]
        print(*fresh, sep="\n")
        rows[name] = [row for row in rows[name] if not is_replaced(row, measured, here)] + fresh
        content = HEAD + "\n".join(row for lines in rows.values() for row in lines) + "\n"
        below = [part.rstrip("\n") + "\n" for part in (remarks, section) if part]
        table.write_text("\n".join([content, *below]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure side by side")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--table", type=Path, default=TABLE, metavar="FILE")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="gets the notebooks as they were executed"
    )
    parser.add_argument(
        "-p",
        "--parameter",
        nargs=2,
        action="append",
        default=[],
        metavar=("PARAMETER", "VALUE"),
        help="of the notebooks: another folder of data, say",
    )
    arguments = parser.parse_args()
    parameters = {name: typed(value) for name, value in arguments.parameter}
    sys.exit(main(arguments.names, arguments.table, arguments.keep, **parameters))
