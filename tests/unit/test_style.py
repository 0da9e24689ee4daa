"""What no linter sees: one thing a line, one idea a function, nothing private across modules"""

import ast
import re
import symtable
from collections import Counter

import pytest
from support.places import ROOT

PACKAGE = ROOT / "dialsum"
FILES = [p for p in sorted(PACKAGE.rglob("*.py")) if p.name != "_modidx.py"]
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
TABLES = {"parser"}  # a function that is the table of the command line


def holds(node: ast.AST, kinds) -> bool:  # below it
    return any(isinstance(n, kinds) for child in ast.iter_child_nodes(node) for n in ast.walk(child))


def trees():
    for path in FILES:
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def texts():
    for path in FILES:
        yield path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8")


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


def public_names(tree: ast.Module):  # that a module defines, with their definitions
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names = [node.name]
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
        else:
            continue
        yield from ((name, node) for name in names if not name.startswith("_"))


def test_no_function_has_the_name_of_a_module():
    modules = {path.stem for path in FILES}
    functions = {
        (name, module)
        for module, tree in trees()
        for name, node in public_names(tree)
        if isinstance(node, ast.FunctionDef) and name in modules
    }
    assert functions == {("preflight", "checks/preflight.py"), ("rouge", "scores/rouge.py")}  # stable names


def test_a_public_name_means_one_thing():
    homes = {}
    for module, tree in trees():
        for name, _ in public_names(tree):
            homes.setdefault(name, set()).add(module)
    assert {name: modules for name, modules in homes.items() if len(modules) > 1} == {}


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


def test_what_github_shows_first_can_be_read_as_text():
    for name in ("README.md", "CHANGELOG.md", ".github/CONTRIBUTING.md"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        own = [line for line in lines if not line.startswith("> ")]  # a quotation is as it is
        assert not [line for line in own if len(line) > 120], name


def test_the_readme_quotes_the_first_screen_of_the_report_that_it_names():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [name] = re.findall(r"The first screen of \[its report\]\(([^)]*)\)", readme)
    report = (ROOT / name).read_text(encoding="utf-8")
    quoted = [line[2:] for line in readme.splitlines() if line.startswith(">")]
    assert quoted == report[report.index("✅") : report.index("\n![")].strip().splitlines()


def test_a_public_name_says_what_it_is():
    silent = []
    for module, tree in trees():
        for node in tree.body:
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or node.name.startswith("_"):
                continue
            overloads = [d for d in node.decorator_list if ast.unparse(d) == "overload"]
            if not ast.get_docstring(node) and not overloads:
                silent.append(f"{module}: {node.name}")
    assert silent == []


def test_an_interval_is_written_in_one_place():
    written = r"\[\{[^{}]*f\}, \{[^{}]*f\}\]"
    assert [name for name, text in texts() if re.search(written, text)] == []


def test_which_particle_fits_is_known_in_one_place():
    syllable = r"% 28\b"  # the final consonant of a Hangul syllable
    assert [name for name, text in texts() if re.search(syllable, text)] == [
        "korean/names.py",
        "korean/particles.py",
    ]


FUNCTION_WORDS = """
again all also any asked awaited begun both chosen done drawn each ended enough even few fitted followed found from
given gone happened held here how into it joined just kept known least left less made meant more most named new none
noted now old one only onto other others own picked rest said same seen sent settled shown so still such taken than
that then there this told too unknown until upon used very wanted what when where which while who why with without
written
"""  # no names of things, or participles that do not say of what


def defined(
    table: symtable.SymbolTable,
):  # names of its variables, parameters, functions and classes, and within
    for symbol in table.get_symbols():
        if symbol.is_parameter() or (symbol.is_assigned() and not symbol.is_imported()):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from defined(inner)


def names_of(name: str, text: str) -> list[str]:
    names = defined(symtable.symtable(text, name, "exec"))
    return [n for n in names if not n.startswith("__")]


def is_function_word(name: str) -> bool:
    return name.strip("_") in FUNCTION_WORDS.split()


def test_names_are_nouns():
    names = [n for name, text in texts() for n in names_of(name, text)]
    words = Counter(filter(is_function_word, names))
    assert words.total() < 0.02 * len(names), words.most_common(20)


@pytest.mark.parametrize("package", sorted({p.parent.name for p in FILES if p.parent.parent == PACKAGE}))
def test_names_are_nouns_in_each_package(package):
    names = [n for name, text in texts() if name.startswith(f"{package}/") for n in names_of(name, text)]
    words = Counter(filter(is_function_word, names))
    assert words.total() < 0.02 * len(names), words.most_common(20)


def test_no_test_hides_another_of_the_same_name():
    for path in (ROOT / "tests").rglob("test_*.py"):
        names = [
            n.name for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.FunctionDef)
        ]
        twice = {name for name in names if names.count(name) > 1}
        assert not twice, f"{path.name}: {twice}"
