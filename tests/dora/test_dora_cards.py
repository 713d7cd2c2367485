"""Values as they show themselves at the end of a cell."""

from __future__ import annotations

from IPython.lib.pretty import pretty

from gitops_nb import dora
from tests.dora.dora_factories import measure, request, steady, view


def test_metrics_show_as_a_table_with_value_interval_n_and_before(tmp_path):
    """A metric's line has its value, its interval, n and the window before; missing ones say no data."""
    measured = measure(tmp_path, steady(40))

    lines = [" ".join(line.split()) for line in pretty(measured).splitlines()]

    assert lines[0] == measured.title
    assert "Change lead time 60.0 min 60.0 to 60.0 min 26 60.0 min" in lines
    assert "Change fail rate no data 0" in lines
    assert measured._repr_html_().count("<tr>") == 7


def test_names_from_outside_stay_text_in_a_cell(tmp_path):
    """A file's name with markup or an escape sequence is escaped in both forms."""
    asked = request(tmp_path)
    state = dora.observe(view(steady(10)), asked)
    state.sources["<b>\x1b[31mname"] = "1"  # type: ignore[index]  # a dict in truth

    assert "<b>\x1b" not in state._repr_html_()
    assert "\x1b" not in pretty(state)
    assert "&lt;b&gt;" in state._repr_html_()
