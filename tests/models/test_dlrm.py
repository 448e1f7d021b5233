"""DLRM against numpy, sides without numbers or without features, and data without features."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import experiment, settings
from jaxrec.data.features import Sizes
from jaxrec.errors import InputError
from jaxrec.features import FeatureTables, table, with_tables
from jaxrec.models.dlrm import DLRM
from jaxrec.query import Query
from tests.models.synthetic_features import OF_ITEMS, OF_USERS, vectors
from tests.models.weights import assert_scores, call, drawn
from tests.planted import PLANTED

ASKED = Query(jnp.array([2, 0], jnp.int32))


def layers(w: dict, name: str, x: np.ndarray) -> np.ndarray:
    place = 0
    while f"{name}_{place}" in w:
        x = np.maximum(x @ w[f"{name}_{place}"]["kernel"] + w[f"{name}_{place}"]["bias"], 0)
        place += 1
    return x


def side(w: dict, name: str, of, row: int, ids: bool) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the vectors of a user or an item, and z."""
    found = [w[f"{name}_embedding"]["table"][row]] if ids else []
    if of is None:
        return found, np.zeros(0)
    z = layers(w, f"{name}_bottom", of.numbers[row])
    return [*found, *vectors(w[f"{name}_features"], of, row), z], z


@pytest.mark.parametrize(
    ("of_users", "ids"),
    [
        (OF_USERS, True),
        pytest.param(OF_USERS, False, marks=pytest.mark.slow),
        pytest.param(None, True, marks=pytest.mark.slow),
    ],
    ids=["both", "no ids", "items alone"],
)
def test_scores(of_users, ids):
    """Order of inputs of the first top layer: z and dots of the user, of the item, then dots of user and item."""
    sizes = of_users.sizes if of_users is not None else Sizes()
    model = DLRM(3, 6, 4, bottom=(5,), top=(7, 3), ids=ids, user_sizes=sizes, item_sizes=OF_ITEMS.sizes)
    given = FeatureTables(None if of_users is None else table(of_users), table(OF_ITEMS))
    model = with_tables(model, given)
    params = drawn(model, ASKED)
    w = params["params"]
    expected = np.zeros((2, 6))
    for row, u in enumerate((2, 0)):
        for i in range(6):
            mine, z_u = side(w, "user", of_users, u, ids)
            its, z_i = side(w, "item", OF_ITEMS, i, ids)
            within = [[a @ b for n, a in enumerate(of) for b in of[n + 1 :]] for of in (mine, its)]
            across = [a @ b for a in mine for b in its]
            x = np.concatenate([z_u, within[0], z_i, within[1], across])
            x = np.maximum(x @ w["first"] + w["first_bias"], 0)
            expected[row, i] = (layers(w, "hidden", x) @ w["output"]["kernel"])[0] + w["bias"][0]
    np.testing.assert_allclose(call(model, params, "score_catalog", ASKED), expected, rtol=1e-3, atol=1e-3)
    assert_scores(model, params, ASKED, np.asarray(call(model, params, "score_catalog", ASKED)))


def test_the_penalty_is_of_id_embeddings_only():
    model = with_tables(
        DLRM(3, 6, 4, regularization=0.1, item_sizes=OF_ITEMS.sizes), FeatureTables(item_table=table(OF_ITEMS))
    )
    params = drawn(model, ASKED)
    of_user, of_item = call(model, params, "penalty", ASKED)
    w = params["params"]
    np.testing.assert_allclose(of_user, 0.1 * (w["user_embedding"]["table"][[2, 0]] ** 2).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(of_item, 0.1 * (w["item_embedding"]["table"] ** 2).sum(axis=1), rtol=1e-5)


def test_ids_can_be_left_out_only_where_both_sides_have_features():
    model = with_tables(DLRM(3, 6, 4, ids=False, item_sizes=OF_ITEMS.sizes), FeatureTables(item_table=table(OF_ITEMS)))
    with pytest.raises(InputError, match=r"model\.ids=false"):
        drawn(model, ASKED)


@pytest.mark.parametrize("frame", ["none", "nothing of use"])
def test_the_error_for_data_without_features_says_what_to_add(compose, monkeypatch, frame):
    tree = compose("model=dlrm", *PLANTED)
    split, _ = experiment.prepare(tree)
    train = split.selection.train
    for name in ("users", "items"):
        known = getattr(train.encoded, name)
        left = None if frame == "none" else known.assign(cluster="one")
        object.__setattr__(train.encoded, name, left)
    ((_, shared, population),) = settings.populations([tree])
    monkeypatch.setattr("jaxrec.experiment.training.trainer", lambda tree: pytest.fail("trained"))
    message = "this data has none" if frame == "none" else "cluster: one value only"
    with pytest.raises(InputError, match=rf"{message}.*data\.user_features and data\.item_features"):
        experiment.select(shared, split.selection, population)
