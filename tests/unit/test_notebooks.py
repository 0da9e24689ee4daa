"The rules that notebooks keep, checked on the files themselves"

import ast
import graphlib
import importlib.util
import inspect
import json
import re

import pytest
from support.places import ROOT, notebooks

from dialsum.pipeline.metrics import METRICS
from dialsum.training.fine_tuning import train

STAGES = list(METRICS)


def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def code(path):
    return ["".join(c["source"]) for c in cells(path) if c["cell_type"] == "code"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_one_parameters_cell_first_and_defines_nothing(stage):
    found = [c for c in cells(ROOT / "nbs" / f"{stage}.ipynb") if c["cell_type"] == "code"]
    assert [i for i, c in enumerate(found) if "parameters" in c["metadata"].get("tags", [])] == [0]
    for line in "".join(found[0]["source"]).splitlines():  # papermill drops a line with a second equals sign
        assert re.fullmatch(r"\w+: (str|int|float|bool) = [^=#]+  # [^=]+", line), line
    for c in found:
        assert not c["outputs"] and c["execution_count"] is None
        assert not any(
            isinstance(n, (ast.FunctionDef, ast.ClassDef)) for n in ast.walk(ast.parse("".join(c["source"])))
        )
        assert not re.search(r"^[%!]", "".join(c["source"]), re.M)


OF_ONE_STAGE = (
    "this stage"  # topic of parameters that an experiment fills in, so that they are no options of it
)


def explained_groups(stage) -> list[tuple[str, list[str], str]]:  # topic, parameters, what they are for
    above = []
    for cell in cells(ROOT / "nbs" / f"{stage}.ipynb"):
        if "parameters" in cell["metadata"].get("tags", []):
            break
        above.append("".join(cell["source"]))
    groups = []
    for line in above[-1].splitlines():
        if line.startswith("| ") and "`" in line:
            topic, names, words = line.strip("| ").split(" | ")
            groups.append((topic, re.findall(r"`(\w+)`", names), words))
    return groups


def grouped_by_topic(names: list[str]) -> dict[str, list[str]]:
    from dialsum.commands.option_help import TOPICS

    options = {topic: words.split() for topic, words in TOPICS.items()}
    every = [option for topic in options for option in options[topic]]
    groups = {OF_ONE_STAGE: [name for name in names if name not in every]}
    for topic, topic_options in options.items():
        groups[topic] = [option for option in topic_options if option in names]
    return {topic: group for topic, group in groups.items() if group}


def test_parameters_stand_by_topic_as_options_do_and_each_topic_is_explained():
    from dialsum.runs.parameters import stage_parameters

    many = [stage for stage in STAGES if len(stage_parameters(stage)) > 6]
    assert {"train", "evaluate", "predict", "data", "tta", "ensemble"} <= set(many)
    for stage in many:
        names = list(stage_parameters(stage))
        expected = grouped_by_topic(names)
        explained = explained_groups(stage)
        assert [(topic, group) for topic, group, _ in explained] == list(expected.items()), stage
        assert names == [name for group in expected.values() for name in group], f"{stage}: the cell's order"
        for topic, _, words in explained:
            assert 1 <= len(re.findall(r"[.;](?= |$)", words)) <= 4 and len(words) > 40, f"{stage}: {topic}"


def test_what_is_explained_of_a_parameter_is_a_parameter():
    from dialsum.runs.parameters import stage_parameters

    values = {"lora", "qlora", "full", "replica", "auto", "folds", "paraphrase", 'scale = "replica"'}
    for stage in STAGES:
        for topic, _, words in explained_groups(stage):
            named = set(re.findall(r"`([^`]+)`", words)) - values
            assert named <= set(stage_parameters(stage)), f"{stage}: {topic}"


def imported_names(source: str) -> list[tuple]:
    nodes = ast.parse(source).body
    names = [
        (node.module, a.name, a.asname)
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for a in node.names
    ]
    return names + [(a.name, a.asname) for node in nodes if isinstance(node, ast.Import) for a in node.names]


def test_a_notebook_imports_a_name_once():
    for path in notebooks():
        plain = [text for text in code(path) if not re.search(r"^[%!]", text, re.M)]
        names = [name for text in plain for name in imported_names(text)]
        assert len(names) == len(set(names)), (path, {n for n in names if names.count(n) > 1})


def test_every_stage_notebook_is_known():
    from dialsum.runs.parameters import stages

    assert sorted(STAGES) == stages()


def test_papermill_reads_the_same_parameters_as_we_do():
    import papermill

    from dialsum.runs.parameters import stage_parameters

    for stage in STAGES:
        theirs = papermill.inspect_notebook(str(ROOT / "nbs" / f"{stage}.ipynb"))
        assert {n: (p["inferred_type_name"], ast.literal_eval(p["default"])) for n, p in theirs.items()} == {
            p.name: (p.type.__name__, p.default) for p in stage_parameters(stage).values()
        }


DIFFERENT = dict(  # parameter → the stages in which it is another one, and why
    run=(
        {"ensemble", "epoch_candidates", "folds", "report", "soup", "submit"},
        "they work with what other stages left, so the smoke test makes a small experiment first",
    ),
    models=({"preflight"}, "an experiment that has not started has no models to take"),
    k_folds=({"soup"}, "its smoke test needs folds to average"),
    scale=({"preflight"}, "it is given models by name, so its smoke test says the scale"),
    checkpoint=({"train"}, "training starts from weights, the others write with what it made of them"),
    method=({"train"}, "training chooses one, the others find it in the model's folder"),
    max_source=({"train"}, "training chooses a length, the others find it in the model's folder"),
    max_new_tokens=({"train"}, "training chooses a length, the others find it in the model's folder"),
)


def declared():  # parameter → stage → what its line says
    from dialsum.runs.parameters import stage_parameters

    lines = {}
    for stage in STAGES:
        for name, p in stage_parameters(stage).items():
            lines.setdefault(name, {})[stage] = (p.type, p.default, p.help)
    return lines


def test_a_parameter_is_the_same_in_every_stage():
    lines = declared()
    for name, by_stage in lines.items():
        others = DIFFERENT.get(name, ((), ""))[0]
        usual = {line for stage, line in by_stage.items() if stage not in others}
        unusual = {by_stage[stage] for stage in others}
        assert len(usual) == 1, f"{name}: {usual}"
        assert len(unusual) == bool(others), f"{name}: {unusual}"
        assert not usual & unusual, f"{name} is the same everywhere"
    assert DIFFERENT.keys() <= lines.keys()


OWN_OPTIONS = {  # the command line's own: of a whole experiment, or of one file
    "models": "names with blanks between them, also sets of them",
    "model": "the card of any checkpoint, which its folder may say",
    "scale": "of all models",
    "checkpoint": "one for each model, or any folder",
    "reports": "a folder, with its default",
    "rehearse": "another default for each command",
}


def test_an_option_has_the_help_of_the_parameter():
    from dialsum.commands.option_help import named_as_typed, text_and_default
    from dialsum.commands.options import parser
    from dialsum.runs.parameters import Parameter

    lines = declared()
    commands = next(a for a in parser()._actions if a.dest == "command").choices
    options = [(name, a) for name, p in commands.items() for a in p._actions if a.option_strings]
    shared = [(name, a) for name, a in options if a.dest in lines and a.dest not in OWN_OPTIONS]
    assert len({a.dest for _, a in shared}) > 60
    for name, option in shared:
        parameters = [Parameter(option.dest, *line) for line in lines[option.dest].values()]
        helps = {named_as_typed(text_and_default(p)[0]) for p in parameters}
        text = re.sub(r"(; known: [^;(]*)?(; of both files)?( \(default: .*\))?$", "", option.help)
        assert text.replace("%%", "%") in helps, f"dialsum {name} --{option.dest}"


PACKAGES = (  # each imports only those before it
    "korean",
    "runs",
    "endpoints",
    "data",
    "augment",
    "scores",
    "models",
    "ensemble",
    "training",
    "generation",
    "api",
    "checks",
    "pipeline",
    "report",
    "commands",
    "cli",
)


def imported() -> dict[str, set[str]]:
    "Module of the package → the modules of the package that it imports, anywhere in it"
    found = {}
    for path in (ROOT / "dialsum").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] not in ("__init__", "_modidx"):
            found[".".join(parts)] = set()
    for name, uses in found.items():
        path = ROOT / (name.replace(".", "/") + ".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                above = name.split(".")[: -node.level] if node.level else []
                module = ".".join([*above, *filter(None, [node.module])])
                names = [module, *(f"{module}.{a.name}" for a in node.names)]
            elif isinstance(node, ast.Import):
                names = [a.name for a in node.names]
            else:
                continue
            uses.update(n for n in names if n in found and n != name)
    return found


def test_a_notebook_lies_where_its_module_lies():
    for path in notebooks(ROOT / "nbs" / "modules"):
        exports = re.search(r"#\| default_exp (\S+)", "\n".join(code(path)))[1]
        place = list(path.relative_to(ROOT / "nbs" / "modules").with_suffix("").parts)
        assert exports.split(".") == (["__init__"] if place == ["package"] else place)


def test_packages_import_only_packages_before_them():
    rank = {name: i for i, name in enumerate(PACKAGES)}
    for name, uses in imported().items():
        for used in uses:
            assert rank[used.split(".")[1]] <= rank[name.split(".")[1]], f"{name} imports {used}"


def test_no_module_imports_itself_round_a_corner():
    assert list(graphlib.TopologicalSorter(imported()).static_order())


def test_no_output_shows_a_path_or_an_address():
    for path in notebooks():
        outputs = json.dumps(
            [c["outputs"] for c in cells(path) if c["cell_type"] == "code"], ensure_ascii=False
        )
        for pattern in (
            r"(?<![\w.])/(?:home|root|work|Users|opt)/",
            r" at 0x[0-9a-f]{6}",
            re.escape(str(ROOT)),
        ):
            assert not re.search(pattern, outputs), f"{path.name}: {re.search(pattern, outputs)[0]}"


def test_everything_in_the_package_comes_from_notebooks():
    for path in (ROOT / "dialsum").rglob("*.py"):
        if path.name in ("__init__.py", "_modidx.py"):
            continue
        assert re.search(
            r"AUTOGENERATED! DO NOT EDIT! File to edit: (\.\./)+nbs/modules/",
            path.read_text(encoding="utf-8"),
        ), path


def test_the_train_stage_hands_on_what_it_is_told_of_a_training():
    [parameters, *others] = code(ROOT / "nbs" / "train.ipynb")
    told = {line.target.id for line in ast.parse(parameters).body if isinstance(line, ast.AnnAssign)}
    trees = [ast.parse(source) for source in others if "train(" in source]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    [call] = [node for node in calls if ast.unparse(node.func) == "train"]
    handed_on = {keyword.arg for keyword in call.keywords}
    common = told & set(inspect.signature(train).parameters) - {"scale", "precision"}  # resolved before
    assert common == {"processes", "fsdp", "speedups", "deepspeed"} <= handed_on


def test_the_readme_ends_in_the_tree_as_it_is():
    spec = importlib.util.spec_from_file_location("tree", ROOT / ".ci" / "tree.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.block() in (ROOT / "README.md").read_text(encoding="utf-8"), "run `python .ci/tree.py`"
    assert all(len(line) < 120 for line in module.tree().splitlines())
