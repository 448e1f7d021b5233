"""The page in a real browser, with a real server on its own port."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
import uvicorn

from jaxrec.serve.app import application
from jaxrec.serve.service import Service
from tests.browser import END, LEFT, RIGHT, Browser, browser, needed
from tests.serve.shop import KNOWN, LIMITS, nothing_known, recommender

pytestmark = [pytest.mark.slow, needed]

ROWS, PAST, FOUND = "#list > li", "#history > li", "#found > li"


class Shop:
    """A server, and its page in a window."""

    def __init__(self, service: Service, address: str, window: Browser) -> None:
        self.service, self.address, self.window = service, address, window

    def open(self, **state: Any) -> None:
        """Open the page with this state in its address, and wait for its first responses."""
        self.window.open(f"{self.address}/#{urlencode(state)}")
        self.window.until(lambda: self.window.texts("#status") not in ([], [""], ["Loading …"]))

    def answer(self, **asked: Any) -> dict[str, Any]:
        """Return the recommendations of the server."""
        return httpx.post(f"{self.address}/recommend", json={"k": 10, **asked}).json()

    def shows(self, **asked: Any) -> None:
        """Wait until the list is the server's response to this request."""
        wanted = [item["title"] for item in self.answer(**asked)["items"]]
        self.window.until(lambda: self.window.texts(f"{ROWS} .title") == wanted)

    def says(self, text: str) -> None:
        """Wait until the line above the list is this."""
        self.window.until(lambda: self.window.texts("#status") == [text])

    def state(self) -> dict[str, str]:
        """Return the state in the address."""
        return dict(parse_qsl(urlsplit(self.window.run("return location.href")).fragment))


@contextmanager
def served(service: Service) -> Iterator[str]:
    """Start the server and yield its address."""
    server = uvicorn.Server(uvicorn.Config(application(service), port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def window(tmp_path_factory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def shop(window) -> Iterator[Shop]:
    service = Service.of(recommender("EASE"), LIMITS, "shop")
    with served(service) as address:
        yield Shop(service, address, window)


@pytest.fixture(autouse=True)
def no_console_errors(window) -> Iterator[None]:
    """The console has no errors except those of refused requests, which the page shows itself."""
    yield
    assert [printed for printed in window.console_errors() if "Failed to load resource" not in printed] == []


@pytest.mark.parametrize("weights", [{}, {"diversity": 1.0}, {"freshness": 1.0}])
@pytest.mark.parametrize("who", [{"user": "u5"}, {"history": [103, 108]}])
def test_the_address_sets_the_contents(shop, who, weights):
    shop.open(**{name: str(value) for name, value in (who | weights).items()}, k="5")
    shop.shows(**who, **weights, k=5)
    titles = shop.window.texts(f"{ROWS} .title")
    assert len(titles) == 5
    assert all("<b>" in title for title in titles)  # markup in a title is escaped
    assert "undefined" not in shop.window.text("body")


@pytest.mark.parametrize("weight", ["diversity", "freshness"])
def test_a_slider_changes_the_list(shop, weight):
    shop.open(user="u5")
    shop.shows(user="u5")
    plain = shop.window.texts(f"{ROWS} .title")
    shop.window.type(f"#{weight}", RIGHT * 6)
    assert shop.window.run(f"return document.querySelector('#{weight}-value').value") == "0.3"
    shop.shows(user="u5", **{weight: 0.3})
    shop.window.type(f"#{weight}", END)
    shop.shows(user="u5", **{weight: 1.0})
    shop.window.until(lambda: shop.state()[weight] == "1")
    assert shop.window.texts(f"{ROWS} .title") != plain
    ranks = {item["id"]: item["rank"] for item in shop.answer(user="u5")["items"]}
    for row, item in enumerate(shop.answer(user="u5", **{weight: 1.0})["items"], 1):
        printed = shop.window.texts(f"{ROWS}:nth-child({row}) .moved")
        assert printed == moved(ranks.get(item["id"]), row)
    shop.window.type(f"#{weight}", LEFT * 20)
    shop.shows(user="u5")
    assert shop.window.texts(f"{ROWS} .moved") == []


def moved(before: int | None, now: int) -> list[str]:
    """Return the text of an item whose rank by score alone differs."""
    if before is None:
        return ["▲ from further down"]
    return [] if before == now else [f"{'▲' if before > now else '▼'} #{before} by score"]


def test_both_sliders_at_once_and_a_shorter_list(shop):
    shop.open(user="u7")
    shop.window.type("#diversity", RIGHT * 10)
    shop.window.type("#freshness", RIGHT * 4)
    shop.shows(user="u7", diversity=0.5, freshness=0.2)
    shop.window.type("#k", "5")
    shop.shows(user="u7", diversity=0.5, freshness=0.2, k=5)
    asked = json.loads(shop.window.run("return document.querySelector('#curl').textContent").split("-d '")[1][:-1])
    assert asked == {"user": "u7", "k": 5, "diversity": 0.5, "freshness": 0.2}


def test_an_unsupported_option_is_explained_beside_its_slider(window):
    service = Service.of(recommender("Popularity", ages=None, categories_names=None, **nothing_known()), LIMITS, "bare")
    with served(service) as address:
        shop = Shop(service, address, window)
        shop.open(user="u5", diversity="0.5")
        shop.shows(user="u5")
        assert window.run("return [...document.querySelectorAll('[type=range]')].map(e => e.disabled)") == [True, True]
        assert window.text("#diversity-note") == "Not available: no item similarity is available in this run."
        assert window.text("#freshness-note") == "Not available: the data of this run has no timestamps."
        assert "why?" not in window.texts(f"{ROWS} button")


def test_a_history_is_built_by_search_and_reduced(shop):
    shop.open(user="u5")
    shop.window.click("#tab-history")
    shop.says("Search for items and add them to the history.")
    assert shop.window.texts(ROWS) == []
    shop.window.until(lambda: len(shop.window.texts(FOUND)) > 1)  # popular items first
    shop.window.type("#search", "film 29")
    shop.window.until(lambda: [text.split(" <b>")[0] for text in shop.window.texts(FOUND)] == ["Film 29"])
    shop.window.click(f"{FOUND} button")
    shop.shows(history=[129])
    shop.says("Recommended by the model for this history.")
    shop.window.clear("#search")
    shop.window.type("#search", "115")  # an id
    shop.window.until(lambda: shop.window.texts(f"{FOUND} .body")[0].startswith("Film 15 "))
    shop.window.click(f"{FOUND} button")
    shop.shows(history=[129, 115])
    shop.window.until(lambda: shop.state()["history"] == "[129,115]")
    first = shop.answer(history=[129, 115])["items"][0]
    shop.window.click(f"{ROWS} .tools button:last-child")  # add to history
    shop.shows(history=[129, 115, first["id"]])
    assert [text.split(" <b>")[0] for text in shop.window.texts(PAST)] == [first["title"][:-4], "Film 15", "Film 29"]
    shop.window.click(f"{PAST}:nth-child(2) button")
    shop.shows(history=[129, first["id"]])
    shop.window.click("#clear")
    shop.says("Search for items and add them to the history.")
    assert (shop.window.texts(PAST), shop.window.text("#history-note")) == ([], "Empty.")
    shop.window.clear("#search")
    shop.window.type("#search", "no such film")
    shop.window.until(lambda: shop.window.texts(FOUND) == ["No items found."])


def test_an_unknown_item_in_the_address_is_left_out(shop):
    # 3 is not an id, but a word in many titles.
    shop.open(history="[3, 108]")
    shop.shows(history=[108])
    assert [text.split(" <b>")[0] for text in shop.window.texts(PAST)] == ["Film 8"]


def test_items_marked_as_seen_count_at_once(shop):
    shop.open(user="u4")
    shop.shows(user="u4")
    first = shop.answer(user="u4")["items"][0]
    shop.window.click(f"{ROWS} .tools button:last-child")  # mark as seen
    shop.window.until(lambda: first["title"] not in shop.window.texts(f"{ROWS} .title"))
    shop.shows(user="u4")
    past = shop.window.until(lambda: len(lines := shop.window.texts(PAST)) == 1 + len(KNOWN[4]) and lines)
    assert past[0].startswith(first["title"])
    assert past[0].endswith("new")
    assert not any(line.endswith("new") for line in past[1:])


def test_explanation_and_similar_items(shop):
    shop.open(user="u5")
    shop.shows(user="u5")
    first = shop.answer(user="u5")["items"][0]
    shop.window.click(f"{ROWS} .tools button:nth-child(1)")
    explained = httpx.post(f"{shop.address}/explain", json={"user": "u5", "item": first["id"]}).json()
    parts = [part["title"] for part in explained["history"]][:6]
    shop.window.until(lambda: shop.window.texts(f"{ROWS} .more li span:first-child") == parts)
    assert "The score is a sum over the history items." in shop.window.text(f"{ROWS} .more p")
    widths = shop.window.run("return [...document.querySelectorAll('.more .bar')].map(bar => bar.style.width)")
    largest = max(abs(part["contribution"]) for part in explained["history"])
    assert [float(width[:-1]) for width in widths] == pytest.approx(
        [100 * abs(part["contribution"]) / largest for part in explained["history"]], abs=0.51
    )
    shop.window.click(f"{ROWS} .tools button:nth-child(2)")
    similar = httpx.get(f"{shop.address}/similar", params={"item": first["id"], "k": 6}).json()
    wanted = [item["title"] for item in similar["items"]]
    shop.window.until(lambda: shop.window.texts(f"{ROWS} .more li span:first-child") == wanted)
    shop.window.click(f"{ROWS} .tools button:nth-child(2)")
    shop.window.until(lambda: shop.window.texts(f"{ROWS} .more") == [])


def test_a_user_is_typed_or_taken_from_examples(shop):
    shop.open(user="")
    shop.says("Choose a user.")
    shop.window.type("#user", "u7")
    shop.shows(user="u7")
    example = shop.window.texts("#examples button")[0]
    shop.window.click("#examples button")
    shop.shows(user=example)
    shop.window.until(lambda: shop.state()["user"] == example)


def test_an_unknown_user_is_reported(shop):
    shop.open(user="u5")
    shop.window.clear("#user")
    shop.window.type("#user", "nobody")
    shop.window.until(lambda: shop.window.texts("#history-note") == ["user 'nobody' is not in this run"])
    shop.says("The most popular items: the model cannot score this user or history.")
    shop.shows(user="nobody")


def test_a_server_error_is_shown_and_temporary(shop, monkeypatch):
    shop.open(user="u5")
    with monkeypatch.context() as broken:
        broken.setattr(shop.service.lists, "answer", lambda rows: 1 / 0)
        shop.window.type("#diversity", RIGHT)
        shop.says("internal server error: see the server log")
        assert shop.window.texts(ROWS) == []
        assert shop.window.texts("#status.error") != []
    shop.window.type("#diversity", LEFT)
    shop.shows(user="u5")
    assert shop.window.texts("#status.error") == []


def test_overload_is_shown(shop, monkeypatch):
    shop.open(user="u5")
    monkeypatch.setattr(shop.service.lists, "queue", 0)
    shop.window.type("#diversity", RIGHT)
    shop.says("the queue is full (0 requests are waiting)")


def test_a_stopped_server_is_not_reported_as_an_unknown_user(shop):
    shop.open(user="u5")
    shop.window.command("Network.enable")
    nothing = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    shop.window.command("Network.emulateNetworkConditions", offline=True, **nothing)
    try:
        shop.window.type("#user", "0")
        shop.says("The server does not respond.")
        shop.window.until(lambda: shop.window.texts("#history-note") == ["The server does not respond."])
    finally:
        shop.window.command("Network.emulateNetworkConditions", offline=False, **nothing)


def test_a_response_that_is_not_json_is_reported(shop):
    """For example from a proxy in front of the server."""
    shop.open(user="u5")
    shop.window.run("window.fetch = async () => new Response('<html>Bad gateway', { status: 502 })")
    shop.window.type("#diversity", RIGHT)
    shop.says("The server's response is not valid JSON (status 502).")
