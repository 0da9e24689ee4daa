"""What no linter sees: one thing a line, one idea a function, nothing private across modules"""

import ast
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "dialsum"
FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if p.name != "_modidx.py"]
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
TABLES = {"_add_run_options", "parser"}  # functions that are tables of the command line


def holds(node: ast.AST, kinds) -> bool:  # below it
    return any(isinstance(n, kinds) for child in ast.iter_child_nodes(node) for n in ast.walk(child))


def trees():
    for path in FILES:
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def test_a_line_says_one_thing():
    for name, tree in trees():
        nodes = Counter(n.lineno for n in ast.walk(tree) if hasattr(n, "lineno"))
        assert not {line: count for line, count in nodes.items() if count > 40}, name


def test_no_ternary_and_no_comprehension_stands_in_another():
    for name, tree in trees():
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.IfExp) and holds(node, ast.IfExp)), f"{name}:{node.lineno}"
            nested = isinstance(node, COMPREHENSIONS) and holds(node, COMPREHENSIONS)
            assert not nested, f"{name}:{node.lineno}"


def test_a_function_is_one_idea():
    for name, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name not in TABLES:
                assert node.end_lineno - node.lineno < 40, f"{name}: {node.name}, line {node.lineno}"


def test_what_another_module_needs_is_public():
    for name, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("dialsum")):
                private = [a.name for a in node.names if a.name.startswith("_") and a.name != "__version__"]
                assert not private, f"{name}:{node.lineno}"


def test_lines_are_under_120_columns():
    for path in FILES:
        lines = path.read_text(encoding="utf-8").splitlines()
        cells = [i for i, line in enumerate(lines) if line.startswith("# %% ") and "auto" not in line]
        own = lines[cells[0] :] if cells else []  # what stands above is nbdev's
        assert not [line for line in own if len(line) > 120], path
