"""Windows with event columns: each position reads its own event, and nothing of the predicted one."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from jaxrec.data.features import Encoded, features
from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.features import FeatureTables, table, with_tables
from jaxrec.fitting.objective import CatalogObjective
from jaxrec.fitting.sequence import MaskedItem, NextItem
from jaxrec.fitting.sequence_losses import Softmax
from jaxrec.models.embedding import Embedding
from jaxrec.models.sequence import SequenceModel

ITEMS = 9
LISTS = [[1, 2, 3, 4, 5, 6, 7], [8], [6, 0, 2, 1]]
SOURCE = jnp.array([1, 2], jnp.uint32)
COLUMNS = ("event", "gap", "value", "hour")
HOUR = 3_600_000


class Spy(SequenceModel):
    """A model whose encoder returns its inputs: item, event, gap, value, hour and user."""

    n_items: int = ITEMS
    history_length: int = 4
    event_kind: bool = True
    time_gap: int = 1
    calendar: bool = True
    value: int = 1
    causal: bool = True
    has_inputs = True

    def encode(self, items, noise=None, context=None):
        columns = [getattr(context.history, name) for name in COLUMNS]
        user = jnp.broadcast_to(context.user[:, None], items.shape)
        return jnp.stack([column.astype(jnp.float32) for column in (items, *columns, user)], axis=2)

    def item_vectors(self):
        return jnp.zeros((ITEMS, 6))

    def __call__(self, query, items):
        return jnp.zeros(items.shape)


class Total(SequenceModel):
    """Sum of the earlier inputs."""

    has_inputs = True

    def setup(self):
        self.inputs = self.input_layer(4, 1.0)
        self.item_embedding = Embedding(self.n_items, 4)

    def encode(self, items, noise=None, context=None):
        x, real = self.with_inputs(self.embedded(items, noise), items, context)
        return jnp.cumsum(jnp.where(real[:, :, None], x, 0), axis=1)

    def item_vectors(self, noise=None):
        return self.catalog(noise)


def data() -> Interactions:
    """Interaction n has event n % 3, value n, and a time n + 1/2 hours after 1970."""
    user = np.repeat(np.arange(len(LISTS)), [len(items) for items in LISTS]).astype(np.int32)
    n = np.arange(len(user))
    columns = {"event": (n % 3).astype(np.int8), "event_names": ("a", "b", "c")}
    item, value, time = np.concatenate(LISTS).astype(np.int32), n.astype(np.float32), (n * HOUR + HOUR // 2)
    return Interactions(user, item, value, time, None, np.arange(len(LISTS)), np.arange(ITEMS), **columns)


def read(objective, train: Interactions) -> tuple[np.ndarray, np.ndarray]:
    """Return the inputs [R, T, 6] of each window, and its targets."""
    seen = []

    def record(h, target, weight, vectors, rows, draw):
        def keep(h, target, rows):
            seen.extend(zip(rows.tolist(), h.tolist(), target.tolist(), strict=True))

        jax.debug.callback(keep, h, target, rows)
        return jnp.sum(weight) + 0 * jnp.sum(h)

    objective = type(objective)(record, **{k: v for k, v in vars(objective).items() if k != "cost"})
    examples, n = objective.examples(train)
    examples = objective.with_columns(examples, train, COLUMNS)
    model = Spy(causal=isinstance(objective, NextItem))
    jax.jit(lambda rows: objective.costs(model, {}, examples, rows, SOURCE, False))(jnp.arange(n))
    jax.effects_barrier()
    rows = sorted(seen)
    return np.array([h for _, h, _ in rows]), np.array([target for *_, target in rows])


def test_the_next_item_is_predicted_from_the_events_before_it():
    found, target = read(NextItem(Softmax()), data())
    assert target.tolist() == [[4, 5, 6, 7], [-1, 0, 2, 1]]
    first = [[3, 2, 3600, 2, 2, 0], [4, 0, 3600, 3, 3, 0], [5, 1, 3600, 4, 4, 0], [6, 2, 3600, 5, 5, 0]]
    second = [[6, 2, 0, 8, 8, 2], [0, 0, 3600, 9, 9, 2], [2, 1, 3600, 10, 10, 2]]
    assert found[0].tolist() == first
    assert found[1, 1:].tolist() == second  # the first is padding


def test_masked_events_are_unknown():
    found, target = read(MaskedItem(Softmax(), mask=0.4, trailing=0.2), data())
    hidden = target >= 0
    assert hidden.any(axis=1).all()
    whole = {item: [n % 3, 3600.0 * (n not in (0, 7, 8)), n, n] for n, item in enumerate(np.concatenate(LISTS[:1]))}
    for window, mask in zip(found, hidden, strict=True):
        for place in range(4):
            item, event, gap, value, hour, _ = window[place]
            if mask[place]:
                assert (item, event, gap, hour) == (ITEMS, -1, -1, -1)
                assert np.isnan(value)
            elif place and mask[place - 1]:
                assert gap == -1
    assert [whole[item][0] for item in found[0, ~hidden[0], 0]] == found[0, ~hidden[0], 1].tolist()


def test_losses_that_do_not_pass_event_columns_refuse_them():
    with pytest.raises(InputError, match=r"columns gap of histories .* loss=sequence_softmax \(for BERT4Rec"):
        CatalogObjective().with_columns(None, data(), ("gap",))


def test_new_items_are_not_negatives():
    """They are not in the softmax: their ids, and features that only they have, are not trained."""
    tags = [["a"], ["b"], ["a", "new"]] * 3
    train = data()
    train = train.take(~np.isin(train.item, [2, 5, 8]))  # those with the tag "new"
    of_items = features(pd.DataFrame({"tags": tags}))
    tables = FeatureTables(None, table(of_items))
    model = Total(ITEMS, 4, item_features=True, item_sizes=of_items.sizes)
    model.check_data(train.annotated(encoded=Encoded.holding(None, of_items)))
    model = with_tables(model, tables)
    params = model.init(jax.random.key(0), jnp.full((1, 4), -1), method="encode")
    params = jax.tree.map(lambda x: x[0], model.pretrained(jax.tree.map(lambda x: x[None], params), train))
    objective = NextItem(Softmax())
    examples, n = objective.examples(train)

    def total(params):
        return jnp.sum(objective.costs(model, params, examples, jnp.arange(n), SOURCE, False)[0])

    gradient = jax.jit(jax.grad(total))(params)["params"]
    of_ids = np.abs(gradient["item_embedding"]["table"]).max(axis=1)
    assert np.flatnonzero(of_ids == 0).tolist() == [2, 5, 8]
    of_tags = np.abs(gradient["inputs"]["item_part"]["embedding"]["bags_0"]["table"]).max(axis=1)
    assert (of_tags > 0).tolist() == [False, True, True, False]  # unknown, a, b, new
