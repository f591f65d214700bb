"""A browser that looks at the viewer's pages."""

import shutil
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Linear algebra on one thread of the browser's CPU in place of a graphics card.
ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SECONDS = 120  # that a busy machine may take for each answer of the browser
# What viser says at each press on something that can be dragged; the press does what it should.
VISERS_OWN = "Unable to preventDefault inside passive event listener invocation."


class Tab:
    """A tab of the browser: Playwright's page, and what the viewer's tests ask of it."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.wrong: list[str] = []
        page.set_default_timeout(1000 * SECONDS)
        page.on("console", lambda message: self.wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))

    def open(self, address: str) -> None:
        """Open a page, without the notice that there is no graphics card, which lies over the drawing."""
        self.page.goto(address)
        self.page.add_style_tag(content=".mantine-Notification-root { display: none }")

    def comes(self, condition: Callable[[], object], seconds: float) -> bool:
        """Wait until a condition holds; return whether it does so in time."""
        end = monotonic() + seconds
        while not condition():
            if monotonic() > end:
                return False
            self.page.wait_for_timeout(100)
        return True

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds."""
        assert self.comes(condition, SECONDS), "it did not come about"

    def picture(self) -> bytes:
        """Return what is drawn, left of the panel."""
        return self.page.screenshot(clip={"x": 0, "y": 0, "width": 350, "height": 400})

    def field(self, label: str) -> Any:
        """Return the input beside a label."""
        return self.page.locator(f"xpath=//label[normalize-space()='{label}']/following::input[1]").first

    def press(self, button: str) -> None:
        """Press a button by its name."""
        self.page.get_by_role("button", name=button, exact=True).click()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Tab]:
    """A tab, in which nothing goes wrong."""
    tab = Tab(browser.new_page(viewport={"width": 700, "height": 400}))
    yield tab
    tab.page.close()
    assert not [line for line in tab.wrong if line != VISERS_OWN]
