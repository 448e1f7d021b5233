"""A small shop with all features of items, and a client of its server in this process."""

import asyncio
from typing import Any

import httpx
import jax
import numpy as np

from jaxrec.data.histories import UserHistories
from jaxrec.history import History
from jaxrec.models.ease import EASE
from jaxrec.models.ials import ImplicitALS
from jaxrec.models.mf import MatrixFactorization
from jaxrec.models.popularity import Popularity
from jaxrec.models.sasrec import SASRec
from jaxrec.query import Query
from jaxrec.recommend.recommender import Recommender
from jaxrec.serve.app import application
from jaxrec.serve.limits import Limits
from jaxrec.serve.service import Service

USERS, ITEMS, LONGEST = 12, 30, 6
LIMITS = Limits(batch_sizes=(1, 4), queue=8, max_k=10, candidates=20, max_history=10, max_body=2000, user_items=5)
KNOWN = {  # interactions of users; user 0 has none
    user: [(7 * user + 3 * step) % ITEMS for step in range(1 + user % LONGEST)] for user in range(1, USERS)
}
MODELS = {
    "EASE": EASE(n_items=ITEMS, history_length=LONGEST),
    "ImplicitALS": ImplicitALS(n_users=USERS, n_items=ITEMS, embedding_dim=4),
    "MatrixFactorization": MatrixFactorization(n_users=USERS, n_items=ITEMS, embedding_dim=4),
    "SASRec": SASRec(n_items=ITEMS, history_length=4, embedding_dim=8, n_blocks=1),
    "Popularity": Popularity(n_items=ITEMS),
}
CATEGORIES = {  # every item is in one of three
    "categories_names": np.array(["Comedy", "Drama", "War"], object),
    "categories_offsets": np.arange(ITEMS + 1),
    "categories_codes": (np.arange(ITEMS) % 3).astype(np.int32),
}


def params(model) -> dict:
    """Return random parameters, so that no two items have equal scores."""
    nothing = np.full((1, getattr(model, "history_length", 0)), -1, np.int32)
    query = Query(np.zeros(1, np.int32), History(nothing))
    shapes = jax.eval_shape(model.init, jax.random.key(0), query, np.zeros((1, 1), np.int32))
    rng = np.random.default_rng(3)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), shapes)


def recommender(name: str, **changes: Any) -> Recommender:
    """Return a run of this model. Item ids are 100, 101, …, user ids "u0", "u1", …."""
    model = MODELS[name]
    lists = [KNOWN.get(user, []) for user in range(USERS)]
    offsets = np.concatenate([[0], np.cumsum([len(items) for items in lists])])
    known = UserHistories(offsets, np.concatenate(lists).astype(np.int32))
    extra = {
        "user_ids": np.array([f"u{user}" for user in range(USERS)], object),
        "item_ids": np.arange(100, 100 + ITEMS),
        "titles": np.array([f"Film {item} <b>" for item in range(ITEMS)], object),
        "ages": np.arange(ITEMS, dtype=np.float32) * 10,
        **CATEGORIES,
        **{f"known_{field}": column for field, column in known._asdict().items()},
    }
    return Recommender(model, params(model), extra | changes)


def nothing_known() -> dict[str, np.ndarray]:
    """Return changes to a run that remove the histories of all users."""
    return {"known_offsets": np.zeros(USERS + 1, np.int64), "known_items": np.zeros(0, np.int32)}


class Client:
    """Client of an application in this process, which `with` starts and stops."""

    def __init__(self, service: Service) -> None:
        self.service, self.app = service, application(service)
        self.runner = asyncio.Runner()

    def __enter__(self) -> "Client":
        self.lifespan = self.app.router.lifespan_context(self.app)
        self.runner.run(self.lifespan.__aenter__())
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://test")
        return self

    def __exit__(self, *error: object) -> None:
        self.runner.run(self.http.aclose())
        self.runner.run(self.lifespan.__aexit__(None, None, None))
        self.runner.close()

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        return self.runner.run(self.http.get(path, params=parameters))

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.runner.run(self.http.post(path, **({"json": body} if body is not None else {}), **options))

    def recommend(self, **body: Any) -> list[int]:
        """Return the item ids of a recommendation list."""
        response = self.post("/recommend", body)
        assert response.status_code == 200, response.text
        return [item["id"] for item in response.json()["items"]]
