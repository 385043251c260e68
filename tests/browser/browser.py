"""The system's Chromium with pages of the console, and what these pages complained of."""

import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]  # it has none
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    async_playwright,
    expect,
)

from driftloop.console.login import COOKIE

Theme = Literal["light", "dark"]
CHROMIUM: Final = shutil.which("chromium") or ""
WITHOUT: Final = pytest.mark.skipif(not CHROMIUM, reason="there is no `chromium` on the PATH")
ARGUMENTS: Final = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
SIZE: Final = {"width": 1440, "height": 900}
SECONDS: Final = 30.0
"""How long an element may take; the machine may be busy."""
GRAVE: Final = ("serious", "critical")

expect.set_options(timeout=SECONDS * 1000)


@dataclass
class Window:
    """One page of a browser, and what it wrote on its console as errors."""

    page: Page
    errors: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    """Parts of errors that a test brings about."""

    def __post_init__(self) -> None:
        """Listen from the start."""
        self.page.set_default_timeout(SECONDS * 1000)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(f"not caught: {error}"))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.type}: {message.text} ({message.location['url']})")

    @property
    def complaints(self) -> list[str]:
        """Errors that nobody expected."""
        return [its for its in self.errors if not any(part in its for part in self.expected)]

    async def go(self, hash: str) -> None:
        """To another route of the document, as a link does; nothing is loaded anew."""
        await self.page.evaluate("(hash) => { location.hash = hash }", hash)
        await self.page.wait_for_function("(hash) => location.hash === hash", arg=hash)

    def at(self, selector: str, text: str = "") -> Locator:
        """What is in the document, if text is given only what has it in it."""
        return self.page.locator(selector, has_text=text or None)

    async def sees(self, selector: str, text: str = "", seconds: float = SECONDS) -> Locator:
        """Wait until something is there to be seen; the first of it."""
        found = self.at(selector, text).first
        await expect(found).to_be_visible(timeout=seconds * 1000)
        return found

    async def press(self, selector: str, text: str = "") -> None:
        """Click on it."""
        await self.at(selector, text).first.click()

    async def script(self, code: str, argument: Any = None) -> Any:
        """What a function of JavaScript gives in the page."""
        return await self.page.evaluate(code, argument)

    async def faults(self, *rules: str) -> list[str]:
        """What axe finds that is grave, by all of its rules or by these: each with its elements."""
        options: dict[str, Any] = {"resultTypes": ["violations"]}
        if rules:
            options["runOnly"] = list(rules)
        found = await Axe().run(self.page, options=options)
        return [
            f"{its['id']}: {its['help']}: {' | '.join(node['html'][:160] for node in its['nodes'])}"
            for its in found.response["violations"]
            if its["impact"] in GRAVE
        ]


@dataclass
class Windows:
    """Pages of one browser: each person has a context, with its own cookie."""

    browser: Browser
    address: str
    people: dict[str, BrowserContext] = field(default_factory=dict)
    opened: list[Window] = field(default_factory=list)

    async def person(self, name: str, secret: str = "") -> None:
        """Somebody who has given their token already, or who has none."""
        context = await self.browser.new_context(viewport=SIZE, color_scheme="light")  # type: ignore[arg-type]  # its own typed dictionary
        if secret:
            cookie = {"name": COOKIE, "value": secret, "url": self.address}
            await context.add_cookies([cookie])  # type: ignore[list-item]  # its own typed dictionary
        self.people[name] = context

    async def open(self, person: str, hash: str = "#/") -> Window:
        """A new page of a person."""
        window = Window(await self.people[person].new_page())
        self.opened.append(window)
        await window.page.goto(f"{self.address}/{hash}")
        return window

    @contextlib.asynccontextmanager
    async def page(self, person: str, hash: str = "#/") -> AsyncIterator[Window]:
        """A new page for a while: a browser has six connections to a server, one for each page."""
        window = await self.open(person, hash)
        try:
            yield window
        finally:
            await window.page.close()


@contextlib.asynccontextmanager
async def windows(address: str) -> AsyncIterator[Windows]:
    """A headless Chromium for the console at an address."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield Windows(browser, address)
        finally:
            await browser.close()
