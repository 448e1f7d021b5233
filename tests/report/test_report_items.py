import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxrec.data.interactions import Interactions
from jaxrec.data.item_labels import labels
from jaxrec.evaluation.evaluation import RankedLists
from jaxrec.experiment import Result
from jaxrec.hyper import Hyper
from jaxrec.models.mf import MatrixFactorization
from jaxrec.models.popularity import Popularity
from jaxrec.query import Query
from jaxrec.report.items import embedding_map, frequency, item_section


def traces(html):
    return [json.loads(found)["data"] for found in re.findall(r'<script type="application/json">(.*?)</script>', html)]


def numbers(values):
    """Return the values of an array, which Plotly writes as a list or as base64."""
    if isinstance(values, dict):
        import base64

        return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"])
    return np.array(values)


def test_the_map_separates_groups_and_ignores_a_bias():
    rng = np.random.default_rng(0)
    group = np.arange(60) % 2
    vectors = rng.normal(size=(60, 8)) * 0.1 + np.where(group, 1.0, -1.0)[:, None]
    vectors = np.concatenate([vectors, np.ones((60, 1)), 1000 * rng.normal(size=(60, 1))], axis=1)
    frame = pd.DataFrame({"title": [f"item {i}" for i in range(60)], "genre": np.where(group, "odd", "even")})
    named = labels(frame)
    drawn = traces(embedding_map(vectors, np.ones(60, int), np.array(named.titles), named.categories))[0]
    assert {trace["name"] for trace in drawn} == {"odd", "even"}
    x = {trace["name"]: numbers(trace["x"]) for trace in drawn}
    assert max(x["odd"]) < min(x["even"]) or max(x["even"]) < min(x["odd"])
    assert set(next(t for t in drawn if t["name"] == "odd")["text"]) == set(frame["title"][group == 1])


def test_rare_categories_share_a_color():
    names = [f"c{i:02}" for i in range(12)]
    named = labels(pd.DataFrame({"category": names + names[:8]}))
    drawn = traces(
        embedding_map(np.random.default_rng(0).normal(size=(20, 3)), np.ones(20, int), np.arange(20), named.categories)
    )
    assert [trace["name"] for trace in drawn[0]] == ["others", *names[:5]]


def test_frequency_counts_appearances_in_lists():
    lists = np.array([[0, 1], [0, 2], [0, -1]])
    html = frequency(lists, np.array([5, 0, 1, 7]), np.array(list("abcd")))
    assert "25% of the catalog is never recommended" in html
    assert "1% fill 60% of all positions" in html
    (dots,) = traces(html)[0]
    assert numbers(dots["customdata"]).reshape(-1, 2).tolist() == [[5, 3], [0, 1], [1, 1], [7, 0]]


def result(**changes):
    user = np.repeat(np.arange(3, dtype=np.int32), [1, 2, 4])
    features = pd.DataFrame({"title": ["One", "<b>Two</b>", None, "Four", "Five"]})
    known = Interactions(
        user,
        np.array([0, 1, 0, 0, 1, 2, 3], np.int32),
        None,
        None,
        None,
        np.array(["a", "b", "c"]),
        np.array(["i0", "i1", "i2", "i3", "i4"]),
        item_features=features,
    )
    lists = RankedLists(np.arange(3), np.array([[1, 2], [4, 2], [4, -1]]), np.array([0, 1, 2, 3]), np.array([2, 3, 4]))
    values = {
        "metrics": {},
        "per_user": pd.DataFrame(),
        "history": pd.DataFrame(),
        "model": Popularity(n_items=5),
        "params": {"params": {"count": np.zeros(5, np.float32)}},
        "hyper": Hyper(),
        "known": known,
        "lists": lists,
    }
    return Result(**{**values, **changes})


def test_users_are_shown_with_history_list_and_hits():
    html = item_section(result())
    assert "<b>Two" not in html
    assert "&lt;b&gt;Two" in html
    shown = html.split("<h3>User ")[1:]
    assert [text[0] for text in shown] == ["a", "b", "c"]
    assert "1 interaction in the history; 1 of 1 test item recommended." in shown[0]
    assert "0 of 1 test item " in shown[1]
    first, second = re.findall(r"<tr>(.*?)</tr>", shown[0].split(">recommended<")[1])[:2]
    assert ">hit<" not in first
    assert ">i2<" in second  # an item without a title is shown by its id
    assert ">hit<" in second
    assert shown[2].index("Four") < shown[2].index("One")  # the latest first
    assert "Item map" not in html  # popularity has no vectors


def test_missing_data_is_left_out():
    assert item_section(result(lists=None)) == ""
    model = MatrixFactorization(n_users=3, n_items=5, embedding_dim=2)
    params = jax.jit(model.init)(jax.random.key(0), Query(jnp.zeros(1, jnp.int32), None), jnp.zeros((1, 1), jnp.int32))
    html = item_section(result(lists=None, model=model, params=params))
    assert "Item map" in html
    assert "Example lists" not in html


@pytest.mark.parametrize("vectors", [np.zeros((5, 2)), np.ones((5, 3))])
def test_equal_vectors_are_drawn(vectors):
    assert "(0% of the variance)" in embedding_map(vectors, np.ones(5, int), np.arange(5), None)
