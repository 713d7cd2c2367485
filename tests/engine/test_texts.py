"""The text of a notebook file: what nbformat writes, byte for byte."""

from __future__ import annotations

import nbformat
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, writes_json

from gitops_nb.engine.texts import cell_text, notebook_text

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["a\nb", "a\r\nb\n", "\u2028x", '"\\', ""]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
BUNDLE = st.dictionaries(
    st.sampled_from(["text/plain", "text/html", "image/svg+xml", "image/png", "application/javascript"]),
    TEXT,
    max_size=3,
) | st.fixed_dictionaries({"application/x+json": JSON})  # fmt: skip
OUTPUT = st.one_of(
    st.builds(lambda text: new_output("stream", name="stdout", text=text), TEXT),
    st.builds(lambda data: new_output("display_data", data=data), BUNDLE),
    st.builds(lambda data, n: new_output("execute_result", data=data, execution_count=n), BUNDLE, st.integers(1, 9)),
    st.builds(lambda lines: new_output("error", ename="E", evalue="x", traceback=lines), st.lists(TEXT, max_size=3)),
)  # fmt: skip
METADATA = st.dictionaries(st.sampled_from(["kept", "own", "trusted"]), JSON, max_size=2)
CELL = st.one_of(
    st.builds(lambda text, more: new_markdown_cell(text, metadata=more), TEXT, METADATA),
    st.builds(lambda text: new_markdown_cell(text, attachments={"a.svg": {"image/svg+xml": text}}), TEXT),
    st.builds(
        lambda text, outputs, more: new_code_cell(text, outputs=outputs, metadata=more),
        TEXT, st.lists(OUTPUT, max_size=3), METADATA,
    ),
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.lists(CELL, max_size=3), st.dictionaries(TEXT, JSON, max_size=2))
def test_a_notebook_is_written_as_nbformat_writes_it(cells, metadata):
    """Every kind of cell and output, every MIME type, line ends, attachments, what is not stored."""
    notebook = new_notebook(cells=cells)
    notebook.metadata.update(metadata | {"signature": "s"})
    head = {name: value for name, value in notebook.items() if name != "cells"}
    text = notebook_text([cell_text(cell) for cell in notebook.cells], head)
    assert text == writes_json(notebook) + "\n"
    assert nbformat.reads(text, as_version=4).cells == nbformat.reads(writes_json(notebook), as_version=4).cells  # fmt: skip
