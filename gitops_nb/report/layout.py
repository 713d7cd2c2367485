"""One page, one file: the Jinja2 environment, the inlined style sheet, and the Content-Security-Policy.

Every page extends ``base.html.j2`` and is rendered by ``page``. Values are made visible (``text.plain``),
cut (but for ``text.Whole``) and then escaped, in this order, for every ``{{ ... }}`` of every template; markup comes only from
templates and from this package's own style sheets and scripts, whose SHA-256 is the only thing that the
page's policy lets in.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gitops_nb.model import Table
from gitops_nb.report import text, words

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_NUMBER = re.compile(r"[-+\u2212]?[\d,.\u202f]+([ \u00a0]?(%|s|ms|min|h|d|k?B|MB))?")


def page(
    template: str,
    *,
    styles: Sequence[str] = ("style.css",),
    rules: str = "",
    scripts: Sequence[str] = (),
    policy: Mapping[str, str] | None = None,
    **values: Any,
) -> str:
    """Renders one self-contained page.

    Args:
        template: Name of a template in ``templates/`` that extends ``base.html.j2``.
        styles: Names of style sheets in ``templates/``; inlined as one, allowed by its hash.
        rules: Style rules made by the page's own code, appended to the style sheets.
        scripts: Script source of this package or an installed wheel, never of a run; each is inlined
            at the end of the body and allowed by its hash.
        policy: Directives that replace those of the page's policy (``{"style-src": "'unsafe-inline'"}``).
        values: What the template asks for.
    """
    from markupsafe import Markup

    style = _inline("".join(asset(name) for name in styles) + rules, "style")
    sources = [_inline(script, "script") for script in scripts]
    directives = {
        "default-src": "'none'",
        "style-src": source_hash(style),
        **({"script-src": " ".join(map(source_hash, sources))} if sources else {}),
        "base-uri": "'none'",
        "form-action": "'none'",
        **(policy or {}),
    }
    return (
        environment()
        .get_template(template)
        .render(
            style=Markup(style),  # noqa: S704  a file of this package, allowed by its hash
            scripts=[Markup(source) for source in sources],  # noqa: S704  likewise
            policy="; ".join(f"{name} {value}" for name, value in directives.items()),
            **values,
        )
    )


def fragment(template: str, macro: str, **values: Any) -> str:
    """Renders one macro of a template; its values are made visible and escaped as a page's are."""
    return str(getattr(environment().get_template(template).module, macro)(**values))


def asset(name: str) -> str:
    """A text file from ``templates/``."""
    return resources.files("gitops_nb.report").joinpath("templates", name).read_text("utf-8")


def preload_templates(*names: str) -> None:
    """Compiles templates ahead, by default every one."""
    folder = resources.files("gitops_nb.report").joinpath("templates")
    for name in names or tuple(path.name for path in folder.iterdir()):
        if name.endswith(".j2"):
            environment().get_template(name)


@functools.cache
def environment() -> Environment:
    """The one Jinja2 environment: autoescape, no silent undefined, every value made visible first."""
    import jinja2  # here and not above: the terminal uses gitops_nb.report.text without it

    from gitops_nb.report.compiled import CompiledTemplates

    templates = resources.files("gitops_nb.report").joinpath("templates")
    env = jinja2.Environment(
        loader=jinja2.FunctionLoader(asset),
        # Out of an archive there is no folder beside them.
        bytecode_cache=CompiledTemplates(templates) if isinstance(templates, Path) else None,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(
        clip=text.clip,
        whole=text.Whole,
        count=words.count,
        ms=words.milliseconds,
        json_block=json_block,
        listed=words.listed,
        numeric_columns=numeric_columns,
    )
    return env


def json_block(value: Any) -> Markup:
    """JSON for the inside of ``<script type="application/json">``; the HTML parser sees no tag in it."""
    from markupsafe import Markup

    source = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    # Inside of a script element nothing begins without this one.
    return Markup(source.replace("<", "\\u003c"))  # noqa: S704


def numeric_columns(table: Table) -> list[bool]:
    """For each column of a table of texts whether it holds numbers, so that they can stand right.

    A ragged row counts with the cells it has; the first column names the row and is never one.
    """
    width = max([len(table.columns), *(len(row) for row in table.rows)])
    cells = [[row[i] for row in table.rows if i < len(row) and row[i]] for i in range(width)]
    found = [bool(column) and all(_NUMBER.fullmatch(cell) for cell in column) for column in cells]
    return [number and i > 0 for i, number in enumerate(found)]


def _shown(value: Any) -> Any:
    from markupsafe import Markup

    if isinstance(value, Markup):
        return value
    if isinstance(value, text.Whole):
        return text.plain(value)
    return text.clip(text.plain(str(value)))


def _inline(source: str, element: str) -> str:
    """Source as the HTML parser will hand it to the browser's hash check."""
    if f"</{element}" in source.lower():
        raise ValueError(f"a {element} that holds </{element} would end early")
    return source.replace("\r\n", "\n").replace("\r", "\n")


def source_hash(source: str) -> str:
    """A source as a Content-Security-Policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
