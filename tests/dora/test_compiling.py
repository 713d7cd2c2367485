"""SQL that is kept between processes is what Ibis would write: for each expression, with any moments."""

from __future__ import annotations

import json
from dataclasses import replace
from zoneinfo import ZoneInfo

import ibis
import pytest

from gitops_nb.dora import catalogue, compiling
from gitops_nb.dora.definition import WEEK_S, DoraDefinition
from gitops_nb.dora.expressions import Question
from gitops_nb.dora.windows import Window

UTC = ZoneInfo("UTC")
BERLIN = ZoneInfo("Europe/Berlin")
QUESTION = Question(
    environment="production",
    until_s=1_764_500_000,
    definition=DoraDefinition(),
    first_environments=("development",),
    has_commits=True,
    is_native=True,
)
WINDOW = Window(1_756_684_800, 1_756_684_800 + 13 * WEEK_S)


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """A place of its own for what is kept, as a new process finds it."""
    path = tmp_path / "kept.json"
    monkeypatch.setattr(compiling, "_path", lambda: path)

    def begin() -> None:
        compiling._kept.cache_clear()
        compiling._sql.cache_clear()

    begin()
    yield path, begin
    compiling._kept.cache_clear()
    compiling._sql.cache_clear()


@pytest.mark.parametrize("zone", [pytest.param(UTC, marks=pytest.mark.torture), BERLIN])
def test_what_is_kept_is_what_would_be_compiled(kept, monkeypatch, zone):
    """Filled with another day's moments, each kept shape is exactly the SQL of its expression, and nothing is compiled again."""
    _, begin = kept
    first = catalogue.all_expressions(QUESTION, WINDOW, zone=zone)
    for expression in first.values():
        assert compiling.sql(expression) == compiling.compiled(expression.op())
    begin()
    day = 86_400
    other = replace(QUESTION, until_s=QUESTION.until_s + 7 * day + 17)
    moved = catalogue.all_expressions(
        other, Window(WINDOW.start_s + 7 * day, WINDOW.end_s + 7 * day), zone=zone
    )
    expected = {name: compiling.compiled(found.op()) for name, found in moved.items()}
    monkeypatch.setattr(compiling, "compiled", lambda _: pytest.fail("compiled again"))
    same = [
        name
        for name in moved
        if compiling.shape_of(moved[name].op())[0] == compiling.shape_of(first[name].op())[0]
    ]
    for name in same:
        assert compiling.sql(moved[name]) == expected[name], name
    # A change of clocks inside the window is another shape; most have none.
    assert len(same) > len(moved) - 6


def test_other_numbers_are_another_shape():
    """Small numbers, texts and columns belong to the shape; moments that are equal are one."""
    table = ibis.table({"a": "int64", "b": "string"}, name="t")

    def shape(expression):
        return compiling.shape_of(expression.op())[0]

    base = table.filter((table.a > 1_700_000_000) & (table.a < 1_800_000_000))
    assert shape(base) == shape(table.filter((table.a > 1_700_000_001) & (table.a < 1_800_000_003)))
    assert shape(base) != shape(table.filter((table.a > 1_700_000_000) & (table.a < 1_700_000_000)))
    assert shape(base) != shape(table.filter((table.a > 5) & (table.a < 1_800_000_000)))
    assert shape(table.filter(table.b == "x")) != shape(table.filter(table.b == "y"))
    assert shape(table.filter(table.a > 5)) != shape(table.filter(table.a > 6))
    assert shape(table.filter(table.a > 5)) != shape(table.filter(table.a >= 5))


def test_a_spoiled_file_counts_as_nothing(kept):
    """Half a file, or something else, is compiled over."""
    path, begin = kept
    expression = catalogue.expressions_of(QUESTION)["judged"]
    for content in (b"", b"{", b"[]", b"null", b"\xff"):
        path.write_bytes(content)
        begin()
        assert compiling.sql(expression) == compiling.compiled(expression.op())
        assert len(json.loads(path.read_bytes())) == 1


def test_where_nothing_can_be_kept_it_is_compiled(kept, monkeypatch, tmp_path):
    """A folder that cannot be written is no error."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(compiling, "_path", lambda: tmp_path / "file/kept.json")
    expression = catalogue.expressions_of(QUESTION)["judged"]
    assert compiling.sql(expression) == compiling.compiled(expression.op())
