"""A published store with photos, two servers over it, and headless Chromium."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect, sync_playwright

from pipeline.labels import LabelStore
from tests.pipeline.browser.made_people import make_rounds
from tests.pipeline.browser.small_store import Served, serving

# WebGL without a GPU; --no-sandbox: root has no sandbox of its own to start.
ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> LabelStore:
    return LabelStore(str(make_rounds(tmp_path_factory.mktemp("people"))))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    expect.set_options(timeout=30_000)  # the machine is shared
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def anna(chromium: Browser, people: LabelStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Anna's server; chromium first, so that nothing is made where it is missing."""
    with serving(people, tmp_path_factory.mktemp("cache"), reviewer="anna", seconds=60) as server:
        yield server


@pytest.fixture(scope="session")
def ben(anna: Served, people: LabelStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Ben's server over the same store."""
    with serving(people, tmp_path_factory.mktemp("cache"), reviewer="ben <b>", seconds=60) as server:
        yield server


@pytest.fixture
def page(chromium: Browser, anna: Served) -> Iterator[Page]:
    """A tab of 1280 px at Anna's server; a script error, or a dialog that hostile text opened, fails the test."""
    with tab(chromium, anna) as page:
        yield page


class tab:
    """A tab of its own session; what went wrong in it is raised at the end."""

    def __init__(self, browser: Browser, server: Served, width: int = 1280, height: int = 900) -> None:
        self._context = browser.new_context(
            viewport={"width": width, "height": height}, base_url=f"http://127.0.0.1:{server.port}"
        )
        self._wrong: list[str] = []

    def __enter__(self) -> Page:
        page = self._context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: self._wrong.append(f"{error}\n{error.stack}"))
        page.on("dialog", self._refuse)
        page.on("console", lambda message: self._hear(message.type, message.text))
        return page

    def _refuse(self, dialog: Dialog) -> None:
        self._wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _hear(self, kind: str, text: str) -> None:
        if kind == "error" and "status of 400" not in text:  # those are shown on the page
            self._wrong.append(text)

    def __exit__(self, *_: object) -> None:
        self._context.close()
        assert not self._wrong, self._wrong


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tests leave screenshots: $BROWSER_PICTURES, else a temporary folder."""
    import os

    folder = Path(os.environ.get("BROWSER_PICTURES") or tmp_path_factory.mktemp("pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
