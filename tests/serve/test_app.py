"""Responses of the server against numpy, and its errors."""

import asyncio
import json
import re
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxrec.data.histories import NO_TIME, UserHistories
from jaxrec.recommend.batch_recommender import NEW
from jaxrec.serve import programs
from jaxrec.serve.catalog import Catalog, Ids
from jaxrec.serve.endpoints import ENDPOINTS, openapi
from jaxrec.serve.messages import Event, RecommendRequest
from jaxrec.serve.programs import Row, rerank
from jaxrec.serve.service import Service
from jaxrec.serve.service import milliseconds as in_milliseconds
from jaxrec.serve.updates import Details, Updates
from tests.serve.shop import ITEMS, KNOWN, LIMITS, USERS, Client, nothing_known, recommender


def best(scores: np.ndarray, hidden: list[int], k: int = 10) -> list[int]:
    """Return the ids of the best items that are not hidden."""
    order = np.argsort(-np.where(np.isin(np.arange(ITEMS), hidden), -np.inf, scores), kind="stable")
    return (order[: min(k, ITEMS - len(set(hidden)))] + 100).tolist()


def ease_scores(client: Client, history: list[int]) -> np.ndarray:
    weights = np.asarray(client.service.recommender.arrays[1]["params"]["weights"], np.float64)
    return weights[sorted(set(history))].sum(axis=0)


def ids(items: list[int]) -> list[int]:
    return [item + 100 for item in items]


@pytest.mark.parametrize("user", [1, 5, 11])
def test_a_user_gets_the_best_new_items(asked, user):
    client = asked("EASE")
    scores = ease_scores(client, KNOWN[user])
    assert client.recommend(user=f"u{user}") == best(scores, KNOWN[user])
    assert client.recommend(user=f"u{user}", k=3) == best(scores, KNOWN[user], 3)
    assert client.recommend(user=f"u{user}", exclude_seen=False) == best(scores, [])
    answer = client.post("/recommend", {"user": f"u{user}", "k": 2}).json()
    assert answer["answered_by"] == "user"
    first = answer["items"][0]
    assert first["score"] == pytest.approx(scores[first["id"] - 100], rel=1e-5)
    assert first["title"] == f"Film {first['id'] - 100} <b>"
    assert first["categories"] == [["Comedy", "Drama", "War"][first["id"] % 3 - 100 % 3]]
    assert [item["rank"] for item in answer["items"]] == [1, 2]


def test_a_posted_history_gets_the_list_of_a_user_with_this_history(asked):
    client = asked("EASE")
    assert client.recommend(history=ids(KNOWN[5])) == client.recommend(user="u5")
    answer = client.post("/recommend", {"history": ["103", 999, 104, "no such"]}).json()
    assert answer["answered_by"] == "history"
    assert answer["unknown_items"] == [999, "no such"]
    assert [item["id"] for item in answer["items"]] == best(ease_scores(client, [3, 4]), [3, 4])


def test_ials_folds_a_history_in(asked):
    """The list is that of the user vector solved for the history in numpy."""
    client = asked("ImplicitALS")
    run = client.service.recommender
    q = np.asarray(run.arrays[1]["params"]["item_embedding"]["table"], np.float64)
    own = q[[3, 8, 20]]
    penalty = run.model.regularization * (3 + run.model.pair_weight * ITEMS) ** run.model.nu
    matrix = own.T @ own + run.model.pair_weight * q.T @ q + penalty * np.eye(4)
    scores = q @ np.linalg.solve(matrix, own.sum(axis=0))
    assert client.recommend(history=[103, 108, 120]) == best(scores, [3, 8, 20])


@pytest.mark.parametrize("name", ["EASE", "ImplicitALS", "SASRec", "Popularity"])
def test_users_without_history_get_the_most_popular_items(asked, name):
    client = asked(name)
    popular = np.bincount(np.concatenate(list(KNOWN.values())), minlength=ITEMS)
    for body in ({"user": "nobody"}, {"history": []}):
        answer = client.post("/recommend", body).json()
        assert answer["answered_by"] == "popularity"
        assert [item["score"] for item in answer["items"]] == sorted(popular, reverse=True)[:10]


def test_requests_in_one_batch_get_the_lists_they_get_alone(asked):
    client = asked("EASE")
    bodies = [{"user": f"u{user}", "k": 1 + user % 10, "diversity": 0.1 * (user % 3)} for user in range(1, 9)]
    alone = [client.post("/recommend", body).json() for body in bodies]

    async def at_once():
        return await asyncio.gather(*(client.http.post("/recommend", json=body) for body in bodies))

    together = client.runner.run(at_once())
    assert [response.json() for response in together] == alone
    sizes = re.findall(r'jaxrec_batch_rows_bucket{le="(\d+)\.0"} (\d+)', client.get("/metrics").text)
    assert dict(sizes)["4"] > dict(sizes)["1"]  # some requests shared a batch


@pytest.mark.parametrize("name", ["EASE", "ImplicitALS", "SASRec"])
def test_new_events_of_a_user_count_at_once(name):
    with Client(Service.of(recommender(name), LIMITS, "shop")) as client:
        before = client.recommend(user="u5")
        had = before[0]
        assert client.post("/events", {"events": [{"user": "u5", "item": had}]}).json() == {"accepted": 1}
        after = client.recommend(user="u5")
        assert had not in after
        assert after == client.recommend(history=[*ids(KNOWN[5]), had])
        assert after != before[1:]  # the item is not only removed: the others are in another order
        past = client.get("/history", user="u5").json()
        assert (past["known"], past["since"], past["items"][0]["id"]) == (True, 1, had)
        assert [item["id"] for item in past["items"][1:]] == ids(KNOWN[5])[::-1]
        latest = client.get("/history", user="u5", limit=3).json()["items"]
        assert [item["id"] for item in latest] == [had, *ids(KNOWN[5])[:-3:-1]]


def test_a_new_user_is_known_by_their_events(asked):
    with Client(Service.of(recommender("EASE"), LIMITS, "shop")) as client:
        assert client.get("/history", user="eve").status_code == 404
        client.post("/events", {"events": [{"user": "eve", "item": 103}, {"user": "eve", "item": "104"}]})
        answer = client.post("/recommend", {"user": "eve"}).json()
        assert answer["answered_by"] == "history"
        assert [item["id"] for item in answer["items"]] == client.recommend(history=[103, 104])
        assert client.get("/history", user="eve").json()["known"] is False


def test_items_that_a_user_only_viewed_are_read_but_not_filtered():
    """Purchases are the target, and every second item was viewed."""
    lists = [KNOWN.get(user, []) for user in range(USERS)]
    is_target = np.concatenate([np.arange(len(items)) % 2 == 0 for items in lists])
    service = Service.of(recommender("EASE", known_target=is_target), LIMITS, "shop")
    row, _ = service._row(RecommendRequest(user="u5"))
    assert row.history.tolist() == KNOWN[5]
    assert row.hidden.tolist() == KNOWN[5][::2]


def test_what_is_known_of_events_stays_with_their_items():
    """Unknown items are left out with what is known of them, and later events follow those of the run."""
    service = Service.__new__(Service)
    known = UserHistories(
        np.array([0, 2]), np.array([3, 4], np.int32), event=np.array([0, 1], np.int8), value=np.float32([1, 2])
    )
    model = SimpleNamespace(history_columns=("event", "value"), history_length=4)
    service.recommender = SimpleNamespace(model=model, known=known, event_names=("buy", "view"), knows_new_users=True)
    service.limits, service.catalog = LIMITS, Catalog(np.arange(100, 110), np.zeros(10))
    service.users, service.updates = Ids("user", np.array(["u0"])), Updates(9, 9, 1 << 20, detailed=True)
    posted = {"history": [103, 999, 104], "event_types": ["buy", "buy", "view"], "values": [1.0, 2.0, 3.0]}
    row, unknown = service._row(RecommendRequest(**posted))
    assert (row.history.tolist(), unknown) == ([3, 4], [999])
    assert [row.columns[name].tolist() for name in ("event", "value")] == [[0, 1], [1, 3]]
    service.updates.add("u0", [7], Details(0, NO_TIME, 5.0))
    row, _ = service._row(RecommendRequest(user="u0"))
    assert row.history.tolist() == [3, 4, 7]
    assert [row.columns[name].tolist() for name in ("event", "value")] == [[0, 1, 0], [1, 2, 5]]


def test_no_event_is_accepted_if_one_is_invalid(asked):
    client = asked("EASE")
    before = client.recommend(user="u3")
    response = client.post("/events", {"events": [{"user": "u3", "item": before[0]}, {"user": "u3", "item": 7}]})
    assert response.status_code == 422
    assert response.json()["error"] == "events.1.item: item 7 is not in this run; no event was stored"
    assert client.recommend(user="u3") == before


@pytest.mark.parametrize("user", ["", " ", "NULL", "nan", -1, "-1.0"])
def test_visitors_without_an_id_do_not_share_a_history(asked, user):
    client = asked("EASE")
    events = [{"user": "u4", "item": 103}, {"user": user, "item": 103}]
    response = client.post("/events", {"events": events})
    assert response.status_code == 422
    assert re.match(r"events\.1\.user: .* stands for a missing user: send an id", response.json()["error"])
    assert client.get("/history", user="u4").json()["since"] == 0  # no event was stored


def test_the_one_anonymous_user_of_a_run_has_events():
    """With data.anonymous=keep, the user -1 is in the run."""
    users = np.array(["-1", *(f"u{user}" for user in range(1, USERS))], object)
    with Client(Service.of(recommender("EASE", user_ids=users), LIMITS, "shop")) as client:
        assert client.post("/events", {"events": [{"user": -1, "item": 103}]}).json() == {"accepted": 1}


def test_diversity_and_freshness_rerank_the_list(asked):
    client = asked("EASE")
    plain = client.recommend(user="u5", k=6)
    assert client.recommend(user="u5", k=6, diversity=1e-9) == plain
    scores = ease_scores(client, KNOWN[5])
    candidates = best(scores, KNOWN[5], LIMITS.candidates)
    # Ages are 0, 10, … days: with freshness 1 the newest candidates come first.
    assert client.recommend(user="u5", k=6, freshness=1) == sorted(candidates)[:6]
    diverse = client.recommend(user="u5", k=6, diversity=1)
    assert diverse[0] == plain[0]
    assert sorted(item % 3 for item in diverse[:3]) == [0, 1, 2]  # one of each category


def test_items_age_while_a_server_runs():
    """Relevances 1 and 0, ages 10 and 0 days, weight .7, half-life 10: .65 and .7, and 20 days later .39 and .18."""
    scores, ages, items = np.float32([[3, 1]]), np.float32([10, 0]), np.array([[0, 1]], np.int32)
    weights = np.zeros(1, np.float32), np.full(1, 0.7, np.float32)
    order = [rerank(scores, np.eye(2, dtype=np.float32), ages, items, np.float32(days), *weights, half_life=10.0, k=2)
             for days in (0, 20)]  # fmt: skip
    assert [found[0].tolist() for found in order] == [[1, 0], [0, 1]]


def test_options_that_a_run_does_not_support_are_errors(asked):
    bare = recommender("Popularity", ages=None, categories_names=None, **nothing_known())
    with Client(Service.of(bare, LIMITS, "shop")) as client:
        can = client.get("/about").json()["can"]
        assert can["diversity"] == "no item similarity is available in this run"
        assert can["freshness"] == "the data of this run has no timestamps"
        response = client.post("/recommend", {"user": "u5", "freshness": 0.5})
        assert response.status_code == 422
        assert response.json()["error"] == "freshness: the data of this run has no timestamps"
    assert set(asked("EASE").get("/about").json()["can"].values()) == {None}


def test_without_categories_and_vectors_similarity_is_by_common_users():
    """Users have items 0 to 9, or 10 to 19, never of both: a diverse list has at most one of each group."""
    kinds = [np.arange(10), 10 + np.arange(10)]
    had = np.concatenate([kinds[user % 2] for user in range(USERS)]).astype(np.int32)
    bare = recommender("EASE", categories_names=None, known_offsets=np.arange(USERS + 1) * 10, known_items=had)
    with Client(Service.of(bare, replace(LIMITS, candidates=ITEMS), "shop")) as client:
        plain, diverse = (client.recommend(user="u0", exclude_seen=False, diversity=weight) for weight in (0, 1))
    of_kinds = [[np.isin(kind + 100, found).sum() for kind in kinds] for found in (plain, diverse)]
    assert max(of_kinds[0]) > 1
    assert max(of_kinds[1]) <= 1


@pytest.mark.parametrize("name", ["EASE", "ImplicitALS"])
def test_linear_models_explain_their_scores_exactly(asked, name):
    client = asked(name)
    history = [3, 8, 8, 20]
    item = client.post("/recommend", {"history": ids(history), "k": 1}).json()["items"][0]
    message = client.post("/explain", {"history": ids(history), "item": item["id"]}).json()
    parts = {part["id"]: part["contribution"] for part in message["history"]}
    assert message["method"] == "exact"
    assert set(parts) == {103, 108, 120}
    assert message["score"] == pytest.approx(item["score"], rel=1e-4)
    assert sum(parts.values()) + message["rest"] == pytest.approx(item["score"], rel=1e-4)
    assert message["rest"] == pytest.approx(0, abs=1e-4)
    assert list(parts.values()) == sorted(parts.values(), reverse=True)
    if name == "EASE":
        weights = np.asarray(client.service.recommender.arrays[1]["params"]["weights"])
        for part, contribution in parts.items():
            assert contribution == pytest.approx(weights[part - 100, item["id"] - 100], rel=1e-5)


@pytest.mark.parametrize("name", ["SASRec", "MatrixFactorization"])
def test_other_models_of_histories_explain_by_leaving_out_one_item(asked, name):
    client = asked(name)
    history = [103, 108, 120]

    def score(items: list[int]) -> float:
        answer = client.post("/recommend", {"history": items, "exclude_seen": False, "k": 10, "diversity": 0}).json()
        return {item["id"]: item["score"] for item in answer["items"]}.get(best, np.nan)

    best = client.post("/recommend", {"history": history, "k": 1}).json()["items"][0]["id"]
    message = client.post("/explain", {"history": history, "item": best}).json()
    assert message["method"] == "leave_one_out"
    whole = score(history)
    assert message["score"] == pytest.approx(whole, rel=1e-4)
    found = {part["id"]: part["contribution"] for part in message["history"]}
    compared = 0
    for item in history:
        without = score([other for other in history if other != item])
        if not np.isnan(without):
            assert found[item] == pytest.approx(whole - without, abs=1e-4)
            compared += 1
    assert compared


def test_only_items_that_the_model_reads_are_left_out(asked):
    """SASRec reads the latest 4 items."""
    client = asked("SASRec")
    history = [3, 8, 20, 11, 25, 6]
    parts = client.service.explainer(NEW, np.array(history, np.int32), 1).parts
    assert sorted(item for item, _ in parts) == sorted(history[-4:])
    assert max(abs(contribution) for _, contribution in parts) > 0


def test_a_list_is_as_long_as_asked(asked, monkeypatch):
    """There is a program for short lists, and one for longer ones."""
    monkeypatch.setattr(programs, "SHORT", 3)
    nothing = np.zeros(0, np.int32)
    rows = [Row(5, nothing, nothing, k) for k in (3, 4, 2, 10)]
    assert [len(listed.items) for listed in asked("EASE").service.programs(rows)] == [3, 4, 2, 10]


def test_popularity_has_no_explanation(asked):
    client = asked("Popularity")
    message = client.post("/explain", {"user": "u5", "item": 103}).json()
    assert (message["method"], message["history"], message["score"]) == ("none", [], None)
    assert message["reason"] == "Popularity scores do not depend on a history"
    response = client.get("/similar", item=103)
    assert response.status_code == 422
    assert "similar items are not available" in response.json()["error"]


def test_similar_items(asked):
    client = asked("ImplicitALS")
    q = np.asarray(client.service.recommender.arrays[1]["params"]["item_embedding"]["table"], np.float64)
    q = q / np.linalg.norm(q, axis=1, keepdims=True)
    cosines = q @ q[4]
    found = client.get("/similar", item="104", k=5).json()
    assert found["item"]["title"] == "Film 4 <b>"
    assert [item["id"] for item in found["items"]] == best(cosines, [4], 5)
    assert found["items"][0]["similarity"] == pytest.approx(np.sort(cosines)[-2], rel=1e-5)
    assert [item + 100 for item, _ in client.service.neighbors(4, ITEMS)] == best(cosines, [4], ITEMS)
    by_history = asked("EASE").get("/similar", item=104, k=5).json()
    weights = np.asarray(asked("EASE").service.recommender.arrays[1]["params"]["weights"])
    assert [item["id"] for item in by_history["items"]] == best(weights[4], [4], 5)


def test_items_are_found_by_title(asked):
    found = asked("EASE").get("/items", search="film 12", limit=3).json()["items"]
    assert [item["id"] for item in found] == [112]


WRONG = [
    ("/recommend", {}, 422, "set exactly one of user and history"),
    ("/recommend", {"user": "u1", "history": [103]}, 422, "set exactly one of user and history"),
    ("/recommend", {"user": "u1", "k": 11}, 422, "k: must be at most 10, got 11"),
    ("/recommend", {"user": "u1", "k": 0}, 422, "k: must be greater than or equal to 1"),
    ("/recommend", {"user": "u1", "k": "5"}, 422, "k: must be a valid integer"),
    ("/recommend", {"user": "u1", "k": True}, 422, "k: must be a valid integer"),
    ("/recommend", {"user": "u1", "K": 5}, 422, "K: unknown; allowed: user, history, event_types, "),
    ("/recommend", {"user": "u1", "diversity": 1.5}, 422, "diversity: must be less than or equal to 1"),
    ("/recommend", {"user": 1.5}, 422, "user: must be an id"),
    ("/recommend", {"user": 2**64}, 422, "user: must be an id"),
    ("/recommend", {"history": [[]]}, 422, "history.0: must be an id"),
    ("/recommend", {"history": [103] * 11}, 422, "history: must have at most 10 entries, got 11"),
    ("/recommend", [], 422, "must be an object"),
    ("/explain", {"user": "u1", "item": "x"}, 404, "item 'x' is not in this run"),
    ("/events", {"events": [{"user": "u1", "items": 103}]}, 422, "events.0.item: required; events.0.items: unknown"),
    ("/events", {"events": [{"user": "u1", "item": 103, "value": 1e39}]}, 422, "value: must be less than or equal to"),
    ("/recommend", {"history": [103], "values": [-1e39]}, 422, "values.0: must be greater than or equal to"),
    ("/events", {"events": []}, 422, "events: List should have at least 1 item"),
    ("/events", {"events": [{"user": "u1", "item": 103}] * 11}, 422, "events: must have at most 10 entries, got 11"),
]


@pytest.mark.parametrize(("path", "body", "status", "message"), WRONG)
def test_errors_of_invalid_requests(asked, path, body, status, message):
    response = asked("EASE").post(path, body)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/json")
    assert message in response.json()["error"]


JSON = {"content-type": "application/json"}
BROKEN = [
    (b"{", JSON, 400, "Invalid JSON"),
    (b"\xff\xfe", JSON, 400, "Invalid JSON"),
    (b"[" * 1900, JSON, 400, "Invalid JSON"),
    (b'{"user": "u1", "history": ["\\ud800"]}', JSON, 400, "Invalid JSON"),
    (b'{"user": "u1", "diversity": NaN}', JSON, 422, "diversity"),
    (b'{"user": "u1", "k": 1' + b"0" * 1900 + b"}", JSON, 422, "k: "),
    (b'{"user": 1' + b"0" * 1900 + b"}", JSON, 422, "user: must be an id"),
    (b'{"user": "u1"}', {"content-type": "text/plain"}, 415, "Content-Type: application/json"),
    (b" " * 2001, JSON, 413, "the request body must be at most 2000 bytes"),
]


@pytest.mark.parametrize(("content", "headers", "status", "message"), BROKEN)
def test_invalid_bodies_are_refused(asked, content, headers, status, message):
    response = asked("EASE").post("/recommend", content=content, headers=headers)
    assert response.status_code == status
    assert message in response.json()["error"]


def test_a_body_without_a_length_is_read_up_to_the_limit(asked):
    sent = 0

    async def endless():
        nonlocal sent
        while sent < 1_000_000:
            sent += 500
            yield b" " * 500

    response = asked("EASE").post("/recommend", content=endless(), headers=JSON)
    assert response.status_code == 413
    assert response.headers["connection"] == "close"
    assert "error" in response.json()


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/recommend", 405), ("GET", "/nowhere", 404), ("POST", "/similar", 405)]
)
def test_unknown_paths_and_methods_have_json_errors(asked, method, path, status):
    client = asked("EASE")
    response = client.runner.run(client.http.request(method, path))
    assert response.status_code == status
    assert response.json()["error"].startswith(f"{method} {path}: ")


@pytest.mark.parametrize(
    ("path", "parameters", "status", "message"),
    [
        ("/similar", {}, 422, "item: required"),
        ("/similar", {"item": 7}, 404, "item '7' is not in this run"),
        ("/similar", {"item": 104, "k": "many"}, 422, "k: must be a valid integer"),
        ("/history", {"user": "nobody"}, 404, "user 'nobody' is not in this run"),
        ("/items", {"limit": 101}, 422, "limit: must be less than or equal to 100"),
        ("/items", {"limit": ["2", "3"]}, 422, "limit: given 2 times: give it once"),
        ("/similar", {"item": [104, 104]}, 422, "item: given 2 times"),
        ("/about", {"more": 1}, 422, "more: unknown; allowed: nothing"),
    ],
)
def test_errors_of_invalid_parameters(asked, path, parameters, status, message):
    response = asked("EASE").get(path, **parameters)
    assert response.status_code == status
    assert message in response.json()["error"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["u1", 103]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)
KEYS = ["user", "history", "item", "k", "events", "diversity", "freshness", "exclude_seen", "top"]


@pytest.mark.whole
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(["/recommend", "/explain", "/events"]), st.dictionaries(st.sampled_from(KEYS), json_values))
def test_no_json_causes_a_server_error(asked, path, body):
    content = json.dumps(body).encode()
    response = asked("SASRec").post(path, content=content, headers=JSON)
    assert response.status_code in (200, 400, 404, 413, 422)
    assert response.json()


def test_a_failure_is_logged_and_the_response_has_no_details(caplog):
    service = Service.of(recommender("EASE"), LIMITS, "shop")
    with Client(service) as client:
        answer, service.lists.answer = service.lists.answer, lambda rows: [][0]
        response = client.post("/recommend", {"user": "u1"})
        assert response.status_code == 500
        assert response.json() == {"error": "internal server error: see the server log"}
        assert "IndexError" in caplog.text
        service.lists.answer = answer
        assert client.post("/recommend", {"user": "u1"}).status_code == 200


def test_overload_is_refused_at_once_and_temporary():
    service = Service.of(recommender("EASE"), LIMITS, "shop")
    begun, go, answer = threading.Event(), threading.Event(), service.lists.answer

    def slow(rows):
        begun.set()
        assert go.wait(10)
        return answer(rows)

    service.lists.answer = slow
    with Client(service) as client:

        async def rush() -> list[httpx.Response]:
            """One request is being processed, 8 wait, and the other 21 are refused meanwhile."""
            tasks = [asyncio.create_task(client.http.post("/recommend", json={"user": "u1"}))]
            while not begun.is_set():
                await asyncio.sleep(0.001)
            tasks += [asyncio.create_task(client.http.post("/recommend", json={"user": "u1"})) for _ in range(29)]
            while sum(task.done() for task in tasks) < 21:
                await asyncio.sleep(0.001)
            assert (await client.http.get("/health")).json() == {"status": "ready", "waiting": 8}
            go.set()
            return await asyncio.gather(*tasks)

        responses = client.runner.run(asyncio.wait_for(rush(), 10))
        refused = [response for response in responses if response.status_code == 503]
        assert len(refused) == 21
        assert {response.headers["retry-after"] for response in refused} == {"1"}
        assert refused[0].json() == {"error": "the queue is full (8 requests are waiting)"}
        assert {response.status_code for response in responses} == {200, 503}
        assert client.post("/recommend", {"user": "u1"}).status_code == 200
        assert 'jaxrec_requests_total{path="/recommend",status="503"} 21.0' in client.get("/metrics").text


@pytest.mark.parametrize("name", ["lists", "single"])
def test_health_reports_a_batch_that_never_ends(asked, monkeypatch, name):
    client = asked("EASE")
    monkeypatch.setattr(getattr(client.service, name), "_running_since", time.monotonic() - 31)
    response = client.get("/health")
    assert (response.status_code, response.json()["status"]) == (503, "stuck")


def test_responses_match_the_openapi_description(asked):
    client = asked("EASE")
    described = client.get("/openapi.json").json()
    assert described == json.loads(json.dumps(openapi("shop")))
    schemas = described["components"]["schemas"]
    for reference in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described)):
        assert reference in schemas
    asks = {
        "/recommend": {"user": "u5"},
        "/explain": {"user": "u5", "item": 103},
        "/events": {"events": [{"user": "someone else", "item": 103}]},
        "/similar": {"item": 103},
        "/items": {},
        "/history": {"user": "u5"},
        "/about": {},
        "/health": {},
    }
    assert set(described["paths"]) == set(asks)
    for endpoint in ENDPOINTS:
        ask = asks[endpoint.path]
        response = client.post(endpoint.path, ask) if endpoint.method == "POST" else client.get(endpoint.path, **ask)
        assert response.status_code == 200
        endpoint.response.model_validate(response.json())


def test_the_page_loads_nothing_from_other_sites(asked):
    response = asked("EASE").get("/")
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert not re.findall(r"(?:https?:)?//[a-z]", response.text.replace("// ", ""))
    assert "innerHTML" not in response.text


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [
        ("1600000000", 1_600_000_000_000),
        ("1600000000.5", 1_600_000_000_500),
        ("1600000000000", 1_600_000_000_000),
        ('"2020-09-13T12:26:40Z"', 1_600_000_000_000),
        ('"2020-09-13 14:26:40+02:00"', 1_600_000_000_000),
        ('"2020-09-13"', 1_599_955_200_000),
        ("20200913", 1_599_955_200_000),
        ("null", NO_TIME),
    ],
)
def test_times_are_read_as_the_description_says(written, milliseconds):
    body = f'{{"user": "a", "item": "b", "time": {written}}}'
    assert in_milliseconds(Event.model_validate_json(body, strict=True).time) == milliseconds


@pytest.mark.parametrize("written", ["true", "2020", '"soon"', "[1]", "1e30", "1" + 400 * "0"])
def test_what_is_no_time_is_named(written):
    with pytest.raises(ValueError, match="must be a time: ISO 8601, or a number of seconds since 1970"):
        Event.model_validate_json(f'{{"user": "a", "item": "b", "time": {written}}}', strict=True)
