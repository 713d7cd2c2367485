"""The store of facts: nothing is written twice, nothing wrong is written, nothing half written is read."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitops_nb.dora import fact_tables, store
from gitops_nb.dora.store import FactStore
from gitops_nb.errors import RecordError, UsageError

T = 1_760_000_000


def incident(number: int = 1, service: str = "checkout", **changes: object) -> dict[str, object]:
    """One row of the table of incidents."""
    return {
        "incident_id": f"i{number}",
        "service": service,
        "environment": "production",
        "started_s": T + number,
        "resolved_s": None,
        "source": "file",
        **changes,
    }


def frame(*rows: dict[str, object]) -> pd.DataFrame:
    """Rows as the table of incidents."""
    return fact_tables.frame(fact_tables.INCIDENT, rows)


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its bytes and the moment it was written."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_input_twice_changes_no_byte(tmp_path):
    """A second write of the same rows, in another order, touches no file."""
    facts = FactStore(tmp_path / "facts")
    first = facts.merge("incident", frame(incident(1), incident(2), incident(3, "a/b =x")))
    facts.set_resume_point("config", {"commit": "c" * 40})
    before = tree(tmp_path)
    second = facts.merge("incident", frame(incident(3, "a/b =x"), incident(2), incident(1)))
    facts.set_resume_point("config", {"commit": "c" * 40})
    assert (first.added, first.files) == (3, 2)
    assert second == store.Merged()
    assert tree(tmp_path) == before


def test_a_known_key_is_replaced_and_other_services_are_left_alone(tmp_path):
    """An incident that ends later changes its row; the partition of another service keeps its file."""
    facts = FactStore(tmp_path)
    facts.merge("incident", frame(incident(1), incident(2, "catalog")))
    before = tree(tmp_path)
    done = facts.merge("incident", frame(incident(1, resolved_s=T + 60)))
    assert (done.added, done.replaced, done.files) == (0, 1, 1)
    assert facts.read("incident", ["checkout"])["resolved_s"].tolist() == [T + 60]
    other = [name for name in before if "catalog" in name]
    assert other
    assert all(tree(tmp_path)[name] == before[name] for name in other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"started_s": T * 1000}, "started_s"),
        ({"service": ""}, "service"),
        ({"resolved_s": 12}, "resolved_s"),
    ],
)
def test_rows_that_do_not_fit_the_schema_are_refused_and_nothing_is_written(
    tmp_path, change, message
):
    """A time in milliseconds, a row of no service, a time before 1990: refused whole, with the column's name."""
    facts = FactStore(tmp_path / "facts")
    with pytest.raises(UsageError, match=message):
        facts.merge("incident", frame(incident(1), incident(2, **change)))
    assert not (tmp_path / "facts").exists()


def test_a_missing_column_and_an_unknown_word_are_named(tmp_path):
    """A frame without a column, and a deployment with an outcome that no definition knows."""
    facts = FactStore(tmp_path / "facts")
    with pytest.raises(UsageError, match="no column severity"):
        facts.merge("incident", frame(incident(1)).drop(columns="severity"))
    row = {
        "deployment_id": "d",
        "service": "s",
        "started_s": T,
        "finished_s": T,
        "outcome": "fine",
        "trigger": "promotion",
    }
    with pytest.raises(UsageError, match="outcome: fine"):
        facts.merge("deployment", fact_tables.frame(fact_tables.DEPLOYMENT, [row]))
    assert not (tmp_path / "facts").exists()


def test_a_write_that_dies_leaves_the_old_file_and_the_old_resume_point(tmp_path, monkeypatch):
    """When the process ends between two partitions, what is read is whole, and repeating completes it."""
    facts = FactStore(tmp_path)
    facts.merge("incident", frame(incident(1), incident(2, "catalog")))
    facts.set_resume_point("pager", {"page": 1})
    more = frame(incident(3), incident(4, "catalog"))
    replace, calls = Path.replace, []

    def dies(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            facts.merge("incident", more)
    assert sorted(facts.read("incident")["incident_id"]) == ["i1", "i2", "i4"]
    assert facts.resume_point("pager") == {"page": 1}
    facts.merge("incident", more)
    assert sorted(facts.read("incident")["incident_id"]) == ["i1", "i2", "i3", "i4"]


def test_a_damaged_file_is_a_named_error(tmp_path):
    """Neither a damaged table nor a damaged resume point is taken for an empty one."""
    facts = FactStore(tmp_path)
    facts.merge("incident", frame(incident(1)))
    facts.set_resume_point("pager", {})
    next((tmp_path / "incident").rglob("*.parquet")).write_bytes(b"PAR1")
    next((tmp_path / "sources").iterdir()).write_text("{")
    with pytest.raises(RecordError, match="incident"):
        facts.read("incident")
    with pytest.raises(RecordError, match="pager"):
        facts.resume_point("pager")


def test_two_collections_at_once_are_refused(tmp_path):
    """The second writer is told at once."""
    with (
        FactStore(tmp_path).exclusive(),
        pytest.raises(RecordError, match="another collection"),
        FactStore(tmp_path).exclusive(),
    ):
        pytest.fail("two writers")


def test_other_engines_read_the_folder_as_it_is(tmp_path):
    """Plain DuckDB sees the services as a Hive partition, also one that looks like a number."""
    FactStore(tmp_path).merge("incident", frame(incident(1, "007"), incident(2, "a b/ü")))
    with duckdb.connect() as connection:
        rows = connection.execute(
            "select service from read_parquet($1, hive_partitioning = true,"
            " hive_types_autocast = false) order by service",
            [str(tmp_path / "incident/*/*.parquet")],
        ).fetchall()
    assert rows == [("007",), ("a b/ü",)]


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3)), max_size=12), st.integers(0, 12))
def test_parts_in_any_split_give_the_same_table(tmp_path_factory, items, cut):
    """Writing all at once and writing in two parts end in the same bytes."""
    rows = [incident(n, "s", severity=str(n + extra)) for n, extra in items]
    whole, parts = (FactStore(tmp_path_factory.mktemp("facts")) for _ in range(2))
    whole.merge("incident", frame(*rows))
    parts.merge("incident", frame(*rows[:cut]))
    parts.merge("incident", frame(*rows[cut:]))
    assert [c for c, _ in tree(whole.folder).values()] == [
        c for c, _ in tree(parts.folder).values()
    ]
