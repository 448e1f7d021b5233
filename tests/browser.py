"""A real browser that tests control as a user would: open pages, type, click, read.

Chromium, controlled over HTTP by chromedriver.   [W3C WebDriver; Chrome DevTools Protocol for `emulate`]
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

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # key of an element id in WebDriver responses
LEFT, RIGHT, END = "\ue012", "\ue014", "\ue010"  # keys
PATIENCE = 20.0  # seconds
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --disable-background-networking --disable-sync"


class Browser:
    """One browser window. CSS selectors name elements; the first match at the time of the call is used."""

    def __init__(self, session: httpx.Client) -> None:
        self._session = session

    def open(self, url: str) -> None:
        """Open an address. The current page is left first, as a change of the part after # alone would load nothing."""
        self._post("url", url="about:blank")
        self._post("url", url=url)

    def click(self, css: str) -> None:
        """Click an element; an error if another element covers it."""
        self._post(f"element/{self._element(css)}/click")

    def type(self, css: str, keys: str) -> None:
        """Type text key by key, after the present content."""
        self._post(f"element/{self._element(css)}/value", text=keys)

    def clear(self, css: str) -> None:
        """Clear an input field."""
        self._post(f"element/{self._element(css)}/clear")

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script and return its result."""
        return self._post("execute/sync", script=script, args=list(arguments))

    def texts(self, css: str) -> list[str]:
        """Return the texts of all visible elements that match."""
        visible = "[...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility())"
        return self.run(f"return {visible}.map(e => e.innerText)", css)

    def text(self, css: str) -> str:
        """Return the text of the only visible element that matches."""
        (text,) = self.texts(css)
        return text

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait for a condition and return its value; an AssertionError if it stays false."""
        end = time.monotonic() + PATIENCE
        while not (found := condition()):
            assert time.monotonic() < end, f"not within {PATIENCE:g} s; the page says:\n{self.texts('body')}"
            time.sleep(0.02)
        return found

    def emulate(self, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Set size and color scheme of the window, with reduced motion, so that nothing moves while it is clicked."""
        features = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        self.command(
            "Emulation.setEmulatedMedia", features=[{"name": name, "value": v} for name, v in features.items()]
        )

    def command(self, command: str, **parameters: Any) -> Any:
        """Send a command of the DevTools protocol."""
        return self._post("goog/cdp/execute", cmd=command, params=parameters)

    def console_errors(self) -> list[str]:
        """Return errors and warnings in the console since the last call."""
        return [entry["message"] for entry in self._post("se/log", type="browser")]

    def _element(self, css: str) -> str:
        return self._post("element", using="css selector", value=css)[ELEMENT]

    def _post(self, path: str, **body: Any) -> Any:
        response = self._session.post(path, json=body).json()["value"]
        assert not (isinstance(response, dict) and "error" in response), f"{response['error']}: {response['message']}"
        return response


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start a browser with its profile in this folder."""
    with subprocess.Popen([str(DRIVER), "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            line_found = next(line for line in driver.stdout if "started successfully on port" in line)
            address = f"http://127.0.0.1:{line_found.strip().rstrip('.').rsplit(' ', 1)[1]}"
            options = {"binary": CHROMIUM, "args": [*FLAGS.split(), f"--user-data-dir={profile}"]}
            capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "WARNING"}}
            request = {"capabilities": {"alwaysMatch": capabilities}}
            session = httpx.post(f"{address}/session", json=request, timeout=60).json()["value"]["sessionId"]
            try:
                with httpx.Client(base_url=f"{address}/session/{session}", timeout=60) as client:
                    opened = Browser(client)
                    opened.emulate()
                    yield opened
            finally:
                httpx.delete(f"{address}/session/{session}", timeout=60)  # ending the driver does not end the browser
        finally:
            driver.terminate()
