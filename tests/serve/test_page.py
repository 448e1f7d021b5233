"""The page in a real browser, against a real server on a port of its own."""

import html
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlencode

import httpx
import pytest
import uvicorn

from jaxrec.serve.app import application
from jaxrec.serve.service import Service
from tests.serve.conftest import LIMITS, recommender

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="needs Chromium")]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    service = Service.of(recommender("EASE"), LIMITS, "shop")
    server = uvicorn.Server(uvicorn.Config(application(service), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def seen(address: str, tmp_path, **state: str | float) -> str:
    """The page's elements once its script has run; the state is in its address."""
    call = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    call += ["--virtual-time-budget=10000", "--dump-dom", f"{address}/#{urlencode(state)}"]
    return subprocess.run(call, capture_output=True, text=True, check=True, timeout=120).stdout


def titles(page: str) -> list[str]:
    shown = page[page.index('id="list"') : page.index("<footer")]
    return [html.unescape(title) for title in re.findall(r'class="title">(.*?)</span>', shown)]


@pytest.mark.parametrize("weights", [{}, {"diversity": 1.0}, {"freshness": 1.0}])
@pytest.mark.parametrize("who", [{"user": "u5"}, {"history": [103, 108]}])
def test_the_page_shows_what_the_server_recommends(address, tmp_path, who, weights):
    state = {name: str(value) for name, value in (who | weights).items()}
    page = seen(address, tmp_path, **state, k="5")
    answer = httpx.post(f"{address}/recommend", json={**who, **weights, "k": 5}).json()
    assert titles(page) == [item["title"] for item in answer["items"]]
    assert len(answer["items"]) == 5
    assert all("<b>" in title for title in titles(page))  # markup of a title is shown, not obeyed
    assert "undefined" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)


def test_the_page_says_that_a_user_is_unknown(address, tmp_path):
    page = seen(address, tmp_path, user="nobody")
    assert "there is no user 'nobody' in this run: an unknown user." in html.unescape(page)
    assert "The most popular items" in page
