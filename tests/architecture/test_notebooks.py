"""Where notebooks end and the package begins: rules over the code of every shipped notebook."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
FORBIDDEN = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.If, ast.IfExp, ast.For, ast.AsyncFor,
    ast.While, ast.Try, ast.TryStar, ast.With, ast.AsyncWith, ast.Match, ast.ListComp, ast.SetComp, ast.DictComp,
    ast.GeneratorExp, ast.Raise, ast.Global, ast.Delete,
)  # fmt: skip
CREDENTIAL = re.compile(
    r"password|passwd|secret|token|credential|api_?key|private_?key", re.IGNORECASE
)
VERBS = {"step", "gate", "finish"}


def code_cells(path: Path) -> list[tuple[str, list[str]]]:
    """Source and tags of each code cell."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [
        ("".join(c["source"]), c["metadata"].get("tags", []))
        for c in cells
        if c["cell_type"] == "code"
    ]


def problems(source: str) -> list[str]:
    """What the rules of docs/notebooks.md do not allow in one code cell."""
    found: list[str] = []
    if len(source.splitlines()) > 14:
        found.append("longer than 14 lines")
    if re.search(r"^\s*[%!]", source, re.MULTILINE):
        found.append("a magic or a shell command")
        return found
    tree = compile(source, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(tree, ast.Module)
    calls = 0
    for node in ast.walk(tree):
        if isinstance(node, FORBIDDEN):
            found.append(f"{type(node).__name__} in line {node.lineno}")
        if isinstance(node, ast.Import):
            found.append(f"import in line {node.lineno}; only `from gitops_nb…`")
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] != "gitops_nb":
            found.append(f"import from {node.module}")
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Attribute) and function.attr in VERBS:
                calls += 1
            elif not (isinstance(function, ast.Name) and function.id == "open_session"):
                found.append(f"a call of {ast.unparse(function)}")
        for name in [
            getattr(node, "id", ""),
            getattr(node, "attr", ""),
            getattr(node, "arg", "") or "",
        ]:
            if isinstance(name, str) and CREDENTIAL.search(name):
                found.append(f"{name} names a credential")
    if calls > 1:
        found.append(f"{calls} verbs in one cell")
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_cell_only_imports_binds_opens_and_calls_one_verb(path):
    """No shipped notebook holds logic of its own."""
    assert {
        i: problems(source) for i, (source, _) in enumerate(code_cells(path)) if problems(source)
    } == {}


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("if x:\n    y = 1", "If"),
        ("for x in y:\n    z = x", "For"),
        ("def f():\n    pass", "FunctionDef"),
        ("try:\n    x = 1\nexcept E:\n    y = 2", "Try"),
        ("!ls", "shell"),
        ("%time x", "magic"),
        ("import os", "import"),
        ("from os import system", "import from os"),
        ("print(1)", "call of print"),
        ("password = 1", "credential"),
        ("a = session.step(x)\nb = session.step(y)", "2 verbs"),
        ("x = [i for i in y]", "ListComp"),
        ("\n".join(["x = 1"] * 15), "longer"),
    ],
)
def test_the_rules_see_what_they_forbid(source, complaint):
    """Each rule finds an offender, so that none of them is empty."""
    assert any(complaint in problem for problem in problems(source))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_each_code_cell_is_explained(path):
    """6 to 12 code cells, each after a Markdown cell."""
    kinds = [c["cell_type"] for c in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    assert 6 <= kinds.count("code") <= 12
    assert all(kinds[i - 1] == "markdown" for i, kind in enumerate(kinds) if kind == "code")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_parameters_equal_the_catalog(path):
    """The first code cell is tagged `parameters` and binds the catalog's names to the catalog's defaults."""
    source, tags = code_cells(path)[0]
    declared = yaml.safe_load(
        (REPOSITORY / "runbooks" / f"{path.stem}.yaml").read_text(encoding="utf-8")
    )
    expected = {name: p.get("default") for name, p in declared["parameters"].items()}
    bound = {}
    for statement in ast.parse(source).body:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
        bound[target.id] = ast.literal_eval(statement.value)
    assert tags == ["parameters"]
    assert {k: list(v) if isinstance(v, tuple) else v for k, v in bound.items()} == expected


def test_every_runbook_has_its_notebook():
    """One notebook per runbook, of the same name."""
    runbooks = {p.stem for p in (REPOSITORY / "runbooks").glob("*.yaml")} - {
        "fleet",
        "policy",
        "trust",
    }
    assert {p.stem for p in NOTEBOOKS} == runbooks
