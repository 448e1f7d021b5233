"""The response to a request is the same to the bit, alone and among any others."""

import asyncio

import numpy as np
import pytest

from jaxrec.recommend.position_recommender import MANY
from jaxrec.serve.limits import Limits
from jaxrec.serve.messages import RecommendRequest
from jaxrec.serve.service import Service
from tests.serve.shop import ITEMS, USERS, recommender
from tests.slow import some_slow

EVERY = some_slow(["EASE", "ImplicitALS", "MatrixFactorization", "SASRec"], "ImplicitALS", "MatrixFactorization")

LIMITS = Limits(batch_sizes=(1, 8), max_k=25, candidates=30, max_history=10, user_items=5)
OTHERS = (
    {"user": "u3", "k": 25},
    {"history": [100, 103, 104, 108, 110, 111, 117], "k": 3},
    {"user": "u0", "k": 2, "freshness": 0.3},
    {"user": "nobody", "k": 4},
    {"user": "u9", "k": 7, "diversity": 0.5},
    {"history": [], "k": 1},
    {"history": [129], "k": 25, "exclude_seen": False},
)


@pytest.mark.parametrize("name", EVERY)
def test_alone_and_among_others(name):
    async def asked(service: Service, *requests: dict) -> list:
        answers = await asyncio.gather(*(service.recommend(RecommendRequest(**each)) for each in requests))
        return [[(item["id"], item["score"]) for item in answer["items"]] for answer in answers]

    async def main() -> None:
        async with Service.of(recommender(name), LIMITS, "shop") as service:
            for request in (
                {"history": [102, 109, 100, 106, 104], "k": 20, "exclude_seen": False},
                {"user": "u7", "k": 20},
                {"user": "u5", "k": 5, "diversity": 0.4},
            ):
                (alone,) = await asked(service, request)
                assert (await asked(service, request, *OTHERS))[0] == alone
                assert (await asked(service, *OTHERS, request))[-1] == alone
                assert await asked(service, *[request] * 8) == [alone] * 8

    asyncio.run(main())


@pytest.mark.parametrize("name", EVERY)
def test_a_loaded_run_gives_equal_results_too(name):
    """Lists of users, lists of histories of all lengths, and scores of pairs."""
    model = recommender(name)
    users = model.user_ids.tolist()
    many = model.recommend((users * MANY)[:MANY], k=ITEMS, exclude_seen=False)
    for user in users[:3]:
        alone = model.recommend([user], k=ITEMS, exclude_seen=False)
        for where in (slice(0, USERS * ITEMS), slice(-USERS * ITEMS, None)):
            among = many[where][many[where].user_id == user]
            assert among.item_id.tolist() == alone.item_id.tolist()
            assert among.score.tolist() == alone.score.tolist()
    histories = [model.item_ids[:n] for n in (3, 8, 25, 30)]
    together = model.recommend_histories(histories, k=5, exclude_seen=False)
    for row, history in enumerate(histories):
        alone = model.recommend_histories([history], k=5, exclude_seen=False)
        assert together.score[together.history == row].tolist() == alone.score.tolist()
    rng = np.random.default_rng(0)
    pairs = rng.choice(users, 600), rng.choice(model.item_ids, 600)
    scores = model.score(*pairs)
    for at in (0, 1, 299, 599):
        assert model.score(pairs[0][at : at + 1], pairs[1][at : at + 1])[0] == scores[at]


@pytest.mark.parametrize("name", some_slow(["EASE", "MatrixFactorization", "SASRec"], "MatrixFactorization"))
@pytest.mark.slow
def test_a_large_request_equals_its_parts_up_to_the_last_digits(name):
    model = recommender(name)
    users = [*(model.user_ids.tolist() * MANY)[: MANY + 5], "nobody"]
    whole = model.recommend(users, k=ITEMS, exclude_seen=False, unknown="popularity")
    parts = model.recommend(users[-7:], k=ITEMS, exclude_seen=False, unknown="popularity")
    tail = whole.tail(len(parts)).reset_index(drop=True)
    assert tail.source.tolist() == parts.source.tolist()
    assert tail.user_id.tolist() == parts.user_id.tolist()
    np.testing.assert_allclose(tail.score, parts.score, rtol=1e-4, atol=1e-6)
