"""A real browser, driven as a person would: it opens pages, is typed into and clicked, and read.

Chromium by its own driver, which is asked over HTTP.   [W3C WebDriver; Chrome DevTools Protocol for `emulate`]
"""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
needed = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="needs a browser and its driver: chromium and chromedriver"
)

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element's id, by the standard
LEFT, RIGHT, END = "\ue012", "\ue014", "\ue010"  # keys
PATIENCE = 20.0  # seconds
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --disable-background-networking --disable-sync"


class Browser:
    """One window. Elements are named by CSS selectors; the first that fits is meant, as it is at that moment."""

    def __init__(self, session: httpx.Client) -> None:
        self._session = session

    def open(self, url: str) -> None:
        """Leaves whatever page there was: a change of the part behind # alone would not load anything."""
        self._post("url", url="about:blank")
        self._post("url", url=url)

    def click(self, css: str) -> None:
        """Where it is in nobody's way: the driver refuses to click through what covers it."""
        self._post(f"element/{self._element(css)}/click")

    def type(self, css: str, keys: str) -> None:
        """Key by key, behind what is there."""
        self._post(f"element/{self._element(css)}/value", text=keys)

    def clear(self, css: str) -> None:
        """Of a field that is typed into."""
        self._post(f"element/{self._element(css)}/clear")

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self._post("execute/sync", script=script, args=list(arguments))

    def texts(self, css: str) -> list[str]:
        """Of all elements that fit and can be seen."""
        seen = "[...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility())"
        return self.run(f"return {seen}.map(e => e.innerText)", css)

    def text(self, css: str) -> str:
        """Of the only one."""
        (text,) = self.texts(css)
        return text

    def until(self, condition: Callable[[], Any]) -> Any:
        """What the condition gives once it is true; an AssertionError if it stays false."""
        end = time.monotonic() + PATIENCE
        while not (found := condition()):
            assert time.monotonic() < end, f"not within {PATIENCE:g} s; the page says:\n{self.texts('body')}"
            time.sleep(0.02)
        return found

    def emulate(self, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """A window of this size; people who asked for little motion, so that nothing moves while it is clicked."""
        features = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        self.command(
            "Emulation.setEmulatedMedia", features=[{"name": name, "value": v} for name, v in features.items()]
        )

    def command(self, command: str, **parameters: Any) -> Any:
        """Of the DevTools protocol."""
        return self._post("goog/cdp/execute", cmd=command, params=parameters)

    def complaints(self) -> list[str]:
        """Errors and warnings in the console since this was last asked."""
        return [entry["message"] for entry in self._post("se/log", type="browser")]

    def _element(self, css: str) -> str:
        return self._post("element", using="css selector", value=css)[ELEMENT]

    def _post(self, path: str, **body: Any) -> Any:
        answer = self._session.post(path, json=body).json()["value"]
        assert not (isinstance(answer, dict) and "error" in answer), f"{answer['error']}: {answer['message']}"
        return answer


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser of its own, with a profile in this folder."""
    with subprocess.Popen([str(DRIVER), "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            said = next(line for line in driver.stdout if "started successfully on port" in line)
            address = f"http://127.0.0.1:{said.strip().rstrip('.').rsplit(' ', 1)[1]}"
            options = {"binary": CHROMIUM, "args": [*FLAGS.split(), f"--user-data-dir={profile}"]}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "WARNING"}}
            asked = {"capabilities": {"alwaysMatch": wanted}}
            session = httpx.post(f"{address}/session", json=asked, timeout=60).json()["value"]["sessionId"]
            try:
                with httpx.Client(base_url=f"{address}/session/{session}", timeout=60) as client:
                    opened = Browser(client)
                    opened.emulate()
                    yield opened
            finally:
                httpx.delete(f"{address}/session/{session}", timeout=60)  # the driver's end alone is not the browser's
        finally:
            driver.terminate()
