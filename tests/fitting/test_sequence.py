"""Windows of histories as examples, the targets of each position, and chunks that do not change results."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import backend
from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.fitting import chunks
from jaxrec.fitting.gradient import GradientFit
from jaxrec.fitting.optimizers import adam
from jaxrec.fitting.population import Population
from jaxrec.fitting.sequence import MaskedItem, NextItem
from jaxrec.fitting.sequence_losses import Softmax
from jaxrec.hyper import Hyper
from jaxrec.models.bert4rec import BERT4Rec
from jaxrec.models.dropout import dropout
from jaxrec.models.embedding import Embedding
from jaxrec.models.mf import MatrixFactorization
from jaxrec.models.sasrec import SASRec
from jaxrec.models.sequence import SequenceModel

ITEMS = 9
LISTS = [[1, 2, 3, 4, 5, 6, 7], [8], [], [0, 5], [6, 6, 2, 1]]
SOURCE = jnp.array([1, 2], jnp.uint32)


def data(**columns) -> Interactions:
    user = np.repeat(np.arange(len(LISTS)), [len(items) for items in LISTS]).astype(np.int32)
    item = np.concatenate([np.array(items, np.int32) for items in LISTS])
    return Interactions(user, item, None, None, None, np.arange(len(LISTS)), np.arange(ITEMS), **columns)


class CostArguments(NamedTuple):
    """Arguments of the cost."""

    items: list
    target: list
    weight: list


class Spy(SequenceModel):
    """A model whose encoder returns its inputs."""

    n_items: int = ITEMS
    history_length: int = 4
    causal: bool = True

    def encode(self, items, noise=None):
        return items[:, :, None].astype(jnp.float32)

    def item_vectors(self):
        return jnp.zeros((ITEMS, 1))

    def __call__(self, query, items):
        return items


class Sum(SequenceModel):
    """Sum of the earlier items with dropout: an encoder that compiles fast."""

    dropout: float = 0.4

    def setup(self):
        self.item_embedding = Embedding(self.n_items, 4)

    def encode(self, items, noise=None):
        vectors = jnp.where((items >= 0)[:, :, None], self.item_embedding(jnp.maximum(items, 0)), 0)
        return jnp.cumsum(dropout(vectors, self.dropout, noise, 0), axis=1)

    def item_vectors(self):
        return self.item_embedding.whole()


def asked(objective, train: Interactions) -> tuple[CostArguments, int]:
    """Return items, targets and weights of each example."""
    seen = []

    def record(h, target, weight, vectors, rows, draw):
        def keep(h, target, weight, rows):
            seen.extend(
                zip(rows.tolist(), h[:, :, 0].astype(int).tolist(), target.tolist(), weight.tolist(), strict=True)
            )

        jax.debug.callback(keep, h, target, weight, rows)
        return jnp.sum(weight) + 0 * jnp.sum(h)

    objective = type(objective)(record, **{k: v for k, v in vars(objective).items() if k not in ("cost",)})
    examples, n = objective.examples(train)
    model = Spy(causal=isinstance(objective, NextItem))
    costs, weights = jax.jit(lambda rows: objective.costs(model, {}, examples, rows, SOURCE, False))(jnp.arange(n))
    jax.effects_barrier()
    seen.sort()
    assert float(jnp.sum(costs)) == pytest.approx(float(jnp.sum(weights)))
    return CostArguments(*zip(*((items, target, weight) for _, items, target, weight in seen), strict=True)), n


def test_every_position_of_the_latest_window_predicts_the_next_item():
    found, n = asked(NextItem(Softmax()), data())
    assert n == 3  # users with two or more items
    assert list(found.items) == [[3, 4, 5, 6], [-1, -1, -1, 0], [-1, 6, 6, 2]]
    assert list(found.target) == [[4, 5, 6, 7], [-1, -1, -1, 5], [-1, 6, 2, 1]]
    np.testing.assert_array_equal(np.array(found.weight), np.array(found.target) >= 0)


def test_windows_with_a_stride_predict_every_item_once():
    found, n = asked(NextItem(Softmax(), stride=2), data())
    assert n == 3 + 1 + 2
    assert list(found.items)[:3] == [[3, 4, 5, 6], [1, 2, 3, 4], [-1, -1, 1, 2]]
    assert list(found.target)[:3] == [[-1, -1, 6, 7], [-1, -1, 4, 5], [-1, -1, 2, 3]]
    targets = np.array(found.target)
    assert sorted(targets[targets >= 0]) == sorted(item for items in LISTS for item in items[1:])


def test_history_only_rows_are_inputs_but_not_targets_and_weights_count():
    target = np.ones(14, bool)
    target[4] = False  # the first user's item 5
    weight = np.arange(1, 15, dtype=np.float32)
    found, _ = asked(NextItem(Softmax()), data(target=target, weight=weight))
    assert found.items[0] == [3, 4, 5, 6]
    assert found.target[0] == [4, -1, 6, 7]
    assert found.weight[0] == [4, 0, 6, 7]
    order = np.argsort(np.concatenate([np.arange(len(items)) for items in LISTS]), kind="stable")  # users in turn
    mixed = data(target=target, weight=weight).take(order)
    assert asked(NextItem(Softmax()), mixed)[0] == found


def test_masked_items_are_the_targets_and_at_least_one_is_masked():
    many = Interactions(
        np.repeat(np.arange(2000), 4).astype(np.int32),
        np.tile(np.arange(4, dtype=np.int32), 2000),
        None,
        None,
        None,
        np.arange(2000),
        np.arange(ITEMS),
    )
    found, n = asked(MaskedItem(Softmax(), mask=0.3, trailing=0.25), many)
    items, target = np.array(found.items), np.array(found.target)
    assert n == 2000
    hidden = items == ITEMS
    np.testing.assert_array_equal(target, np.where(hidden, np.arange(4), -1))
    assert hidden.any(axis=1).all()
    # Only the last: a quarter of the windows and, of the rest, those where no item or just this one was drawn.
    share = 0.25 + 0.75 * (0.7**4 + 0.3 * 0.7**3)
    alone = (hidden.sum(axis=1) == 1) & hidden[:, 3]
    assert alone.mean() == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / n))
    assert hidden[:, 0].mean() == pytest.approx(0.75 * 0.3, abs=0.05)


def test_masked_training_uses_users_with_one_item():
    found, n = asked(MaskedItem(Softmax(), mask=0.0, trailing=1.0), data())
    assert n == 4
    assert found.items[1] == [-1, -1, -1, ITEMS]
    assert found.target[1] == [-1, -1, -1, 8]


def test_data_without_training_windows_is_an_error():
    alone = data().take(np.array([0, 7]))
    with pytest.raises(InputError, match="no user has 2 or more training interactions"):
        NextItem(Softmax()).examples(alone)
    with pytest.raises(InputError, match=r"loss.stride=9 must not exceed model.history_length=4"):
        asked(NextItem(Softmax(), stride=9), data())


@pytest.mark.parametrize(
    ("objective", "model", "message"),
    [
        (NextItem(Softmax()), MatrixFactorization(5, ITEMS), "MatrixFactorization is not a sequence model"),
        (NextItem(Softmax()), BERT4Rec(ITEMS), "would see the item it must predict: choose loss=masked_softmax"),
        (MaskedItem(Softmax()), SASRec(ITEMS), "choose loss=sequence_softmax"),
    ],
)
def test_a_loss_that_does_not_fit_the_model_is_refused(objective, model, message):
    examples, _ = objective.examples(data())
    with pytest.raises(InputError, match=message):
        objective.costs(model, {}, examples, jnp.arange(2), SOURCE, False)


@pytest.mark.slow
def test_chunks_and_shortened_windows_do_not_change_results(monkeypatch):
    """Cost and gradient of a batch, with a repeated last row, equal those of its examples one by one."""
    model = Sum(ITEMS, 8)
    objective = NextItem(Softmax())
    examples, n = objective.examples(data())
    params = jax.jit(lambda: model.init(jax.random.key(0), jnp.full((1, 8), -1), method="encode"))()

    def total():
        def of(params, rows):
            cost, weight = objective.costs(model, params, examples, rows, SOURCE, False)
            return jnp.sum(cost), jnp.sum(weight)

        return jax.jit(jax.value_and_grad(of, has_aux=True))

    monkeypatch.setattr(chunks, "MIN_LENGTH", 99)
    one = total()
    expected = jax.tree.map(lambda *x: sum(x), *(one(params, jnp.array([row])) for row in range(n)))
    monkeypatch.setattr(chunks, "MIN_LENGTH", 4)
    for chunk in (32, 1600):
        monkeypatch.setitem(backend.CHOICES, "cpu", backend.choices()._replace(encode_block=chunk))
        found = total()(params, jnp.array([2, 0, 1, 1, 1]))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)


@pytest.mark.slow
def test_a_batch_split_over_devices_trains_like_a_whole_one():
    """One member on two devices, against the same member twice, one per device; the last batch is short."""

    def population(n):
        return Population(np.zeros(n, int), Hyper({"optimizer.learning_rate": np.full(n, 0.1, np.float32)}))

    model = Sum(ITEMS, 4)
    fit = GradientFit(NextItem(Softmax(), stride=2), adam, epochs=2, batch_size=4, members="sequential")
    split, whole = (fit(model, data(), population(n)) for n in (1, 2))
    assert "split over 2" in split.placement
    assert "split" not in whole.placement
    alone = fit(model, data(), population(1), n_slots=2)  # as a member of a search trains
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[0], b[0]), alone.params, whole.params)
    assert split.history[0][1]["loss"] == pytest.approx(whole.history[0][1]["loss"], rel=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b[0], rtol=1e-3, atol=1e-4), split.params, whole.params)
