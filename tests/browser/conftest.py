"""Headless Chromium for the tests of what people see; skipped loudly where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ARGUMENTS = ["--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]


@dataclass
class Visit:
    """One page that was opened, with everything it asked for and complained about."""

    page: Any
    requests: list[str] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@dataclass
class Browser:
    """Opens files and addresses, and keeps what each page did."""

    chromium: Any
    contexts: list[Any] = field(default_factory=list)

    def open(
        self,
        where: Path | str,
        *,
        width: int = 1280,
        height: int = 900,
        scheme: str = "light",
        **more: Any,
    ) -> Visit:
        context = self.chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, **more
        )
        self.contexts.append(context)
        context.set_default_timeout(20_000)
        visit = Visit(context.new_page())
        visit.page.on("request", lambda request: visit.requests.append(request.url))
        visit.page.on(
            "requestfailed",
            lambda request: visit.blocked.append(f"{request.url} {request.failure}"),
        )
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        visit.page.on(
            "console",
            lambda message: (
                visit.complaints.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )
        visit.page.goto(where.as_uri() if isinstance(where, Path) else where)
        return visit

    def close_pages(self) -> None:
        for context in self.contexts:
            context.close()
        self.contexts.clear()


@pytest.fixture(scope="module")
def _chromium() -> Iterator[Any]:
    """One browser per file: while Playwright lives, its event loop keeps other tests from having one."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    arguments = [*ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with api.sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(executable_path=program, args=arguments)
        except api.Error as error:
            pytest.skip(
                f"no Chromium (apt install chromium, or playwright install): {error.message}"
            )
        yield chromium
        chromium.close()


@pytest.fixture
def browser(_chromium: Any) -> Iterator[Browser]:
    opened = Browser(_chromium)
    yield opened
    opened.close_pages()
