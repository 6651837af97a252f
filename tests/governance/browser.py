"""The Chromium of the system, driven by playwright's Python client; all that a page says and asks for is kept."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NEEDED = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no Chromium here: apt-get install chromium",
)


@dataclass
class Opened:
    """A page in a browser. `said` is all of its console and errors, `asked` every address it asked for."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@contextlib.contextmanager
def opened(page_of: Path | str, scheme: Literal["dark", "light"] = "light", width: int = 1400) -> Iterator[Opened]:
    """A file or an address in a browser that prefers dark or light."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
            found = Opened(page)
            page.on("console", lambda message: found.said.append(message.text))
            page.on("pageerror", lambda error: found.said.append(str(error)))
            page.on("request", lambda request: found.asked.append(request.url))
            page.goto(page_of.as_uri() if isinstance(page_of, Path) else page_of)
            yield found
        finally:
            browser.close()


def background(found: Opened) -> str:
    """The colour behind everything, as `rgb(r, g, b)`."""
    return str(found.page.evaluate("getComputedStyle(document.body).backgroundColor"))
