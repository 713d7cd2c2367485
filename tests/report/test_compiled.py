"""Compiled templates beside compiled modules: used when they fit, made anew when they do not."""

from __future__ import annotations

import sys

import pytest
from jinja2 import DictLoader, Environment

from gitops_nb.report.compiled import CompiledTemplates


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for templates where Python may keep what it compiled."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    return tmp_path


def render(folder, source: str, compiled: list[str] | None = None) -> str:
    """Renders a template in a new environment, as a new process would."""
    environment = Environment(
        loader=DictLoader({"a.html.j2": source}),
        autoescape=True,
        bytecode_cache=CompiledTemplates(folder),
    )
    real = environment.compile
    environment.compile = lambda *given, **named: (compiled if compiled is not None else []).append(source) or real(*given, **named)  # fmt: skip
    return environment.get_template("a.html.j2").render(x="<")


def test_a_template_is_compiled_once(folder):
    """A second process compiles nothing, and renders the same."""
    compiled: list[str] = []
    assert render(folder, "{{ x }}!", compiled) == render(folder, "{{ x }}!", compiled) == "&lt;!"
    assert compiled == ["{{ x }}!"]


def test_another_source_is_compiled_anew(folder):
    """A template that was edited is never shown as it was before."""
    render(folder, "{{ x }} old")
    assert render(folder, "{{ x }} new") == "&lt; new"


def test_what_is_not_whole_is_compiled_anew(folder):
    """Cut at any byte, the kept file is replaced."""
    render(folder, "{{ x }}")
    (kept,) = (folder / "__pycache__").iterdir()
    whole = kept.read_bytes()
    for length in range(0, len(whole), 5):
        kept.write_bytes(whole[:length])
        assert render(folder, "{{ x }}") == "&lt;"
    assert kept.read_bytes() == whole


@pytest.mark.parametrize("reason", ["told to keep nothing", "no place"])
def test_nothing_is_kept_where_python_keeps_nothing(folder, monkeypatch, reason):
    """As for modules; it renders all the same."""
    if reason == "no place":
        (folder / "__pycache__").write_text("a file")
    else:
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert render(folder, "{{ x }}") == "&lt;"
    assert not (folder / "__pycache__").is_dir()
