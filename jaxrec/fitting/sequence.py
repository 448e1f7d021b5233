"""Learning from sequences: one example is a window of one user's history, and costs arise at its positions.

A batch is worked through in chunks whose numbers stay in a core's cache. Users are put in order of how much they did,
and a chunk is cut to its longest: most of a batch is padding otherwise. Each chunk's gradient is made at once and added
up, so memory does not grow with the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree
from pydantic import PositiveInt

from jaxrec.data.histories import histories
from jaxrec.data.interactions import Interactions, user_order
from jaxrec.errors import InputError
from jaxrec.fitting.objective import Costs, Objective
from jaxrec.fitting.sequence_losses import Cost
from jaxrec.history import DeviceHistories, History
from jaxrec.hyper import Hyper, Share
from jaxrec.models.dropout import Noise
from jaxrec.models.model import Model, Params
from jaxrec.models.sequence import SequenceModel
from jaxrec.negatives.candidates import Negatives
from jaxrec.negatives.sampler import Sampler
from jaxrec.random import RandomStream, bits, substream

CHUNK = 1_600  # positions encoded at once
SHORTEST = 8  # a chunk is cut to a half or a quarter of the history length, but not below this

NEGATIVES, DROPOUT, MASKS = 0, 1, 2  # streams of a batch


class Windows(NamedTuple):
    """One example a window: it reads entries `start .. end` and learns those from `first` on.

    `wanted` are the items, -1 where an entry is history only; `weight` what each counts, None: 1.
    """

    start: Int[Array, "E"]
    first: Int[Array, "E"]
    end: Int[Array, "E"]
    past: DeviceHistories
    wanted: DeviceHistories


class SequenceBatch(NamedTuple):
    """What a batch reads and is to answer: `target` is -1, and `weight` 0, where nothing is asked."""

    rows: Int[Array, "B"]
    items: Int[Array, "B T"]
    target: Int[Array, "B T"]
    weight: Float[Array, "B T"]


@dataclass(frozen=True)
class NextItem(Objective):
    """Every position of a window predicts the item that comes next.

    cost:      the loss at a position
    negatives: a sampler, for costs that take one
    stride:    None: a user's latest window alone. Else every user is cut into windows, each of which learns `stride`
               items more; below the history length they overlap, so that what is learned has more before it
    """

    cost: Cost
    negatives: Sampler | None = None
    stride: PositiveInt | None = None
    split_batch = True  # over the devices that members leave free
    causal = True  # for models that look only back

    def examples(self, train: Interactions, history_length: int = 0) -> tuple[Windows, int]:
        """Windows of users with at least two interactions."""
        return windows(train, self.stride, 1)

    def costs(
        self,
        model: Model,
        params: Params,
        examples: Windows,
        rows: Int[Array, "B"],
        source: RandomStream,
        hyper: Hyper,
        penalized: bool,
    ) -> Costs:
        """The batch's cost, spread evenly over its examples, and the weight of each."""
        model = reader(model, self.stride, causal=self.causal)
        length = model.history_length
        start, first, end = (x[rows] for x in (examples.start, examples.first, examples.end))
        # What follows position t is t + 1: both windows end one entry apart.
        items = examples.past.latest(start, end - 1, length).items
        wanted = examples.wanted.latest(jnp.maximum(first, start + 1), end, length)
        lesson = SequenceBatch(rows, items, wanted.items, _weight(wanted))
        return _costs(self, model, params, lesson, source, hyper)


@dataclass(frozen=True)
class MaskedItem(Objective):
    """Some items of a window are hidden, and predicted from both sides.   [Sun et al. 2019, BERT4Rec]

    mask:      the share of items that is hidden
    trailing:  the share of windows that hide their last item alone, which is what the model is asked when it recommends
    cost, negatives, stride: see `NextItem`
    """

    cost: Cost
    negatives: Sampler | None = None
    stride: PositiveInt | None = None
    mask: Share = 0.2
    trailing: Share = 0.1
    split_batch = True
    causal = False

    def examples(self, train: Interactions, history_length: int = 0) -> tuple[Windows, int]:
        """Windows of all users."""
        return windows(train, self.stride, 0)

    def costs(
        self,
        model: Model,
        params: Params,
        examples: Windows,
        rows: Int[Array, "B"],
        source: RandomStream,
        hyper: Hyper,
        penalized: bool,
    ) -> Costs:
        """The batch's cost at hidden items, spread evenly over its examples, and the weight of each."""
        model = reader(model, self.stride, causal=self.causal)
        length = model.history_length
        start, first, end = (x[rows] for x in (examples.start, examples.first, examples.end))
        items = examples.past.latest(start, end, length).items
        wanted = examples.wanted.latest(first, end, length)
        hidden = self.hidden(substream(source, MASKS), rows, wanted.items)
        target = jnp.where(hidden, wanted.items, -1)
        weight = jnp.where(hidden, _weight(wanted), 0)
        lesson = SequenceBatch(rows, jnp.where(hidden, model.n_items, items), target, weight)
        return _costs(self, model, params, lesson, source, hyper)

    def hidden(self, source: RandomStream, rows: Int[Array, "B"], items: Int[Array, "B T"]) -> Bool[Array, "B T"]:
        """Which items are masks: at least one of every window, the last where chance takes none."""
        back = jnp.arange(items.shape[1] - 1, -1, -1)[None, :]
        uniform = lambda *places: (bits(source, *places) >> 8).astype(jnp.float32) / 2**24  # noqa: E731
        last = (back == 0) & (items >= 0)
        chosen = (uniform(rows[:, None], back + 1) < self.mask) & (items >= 0)
        alone = (uniform(rows, jnp.zeros_like(rows)) < self.trailing) | ~jnp.any(chosen, axis=1)
        return jnp.where(alone[:, None], last, chosen)


def windows(train: Interactions, stride: int | None, before: int) -> tuple[Windows, int]:
    """Windows that end at every user's last entry and, with a stride, so many entries earlier, again and again.

    before: entries that must lie before one that is learned
    """
    known = histories(train)
    start, stop = known.offsets[:-1], known.offsets[1:]
    lessons = np.maximum(stop - start - before, 0)
    count = (lessons > 0).astype(np.int64) if stride is None else -(-lessons // stride)
    user = np.repeat(np.arange(len(count)), count)
    if not len(user):
        raise InputError(
            f"{train.name}: no user has {before + 1} interactions to train on, and a sequence model learns what comes "
            "after another: bring more data, or choose another model"
        )
    back = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
    end = stop[user] - back * (stride or 0)
    first = np.maximum(start[user] + before, end - stride) if stride else start[user] + before
    wanted = known.items if known.target is None else np.where(known.target, known.items, -1)
    weight = None if train.weight is None else jnp.asarray(train.weight[user_order(train)[1]], jnp.float32)
    device = lambda x: jnp.asarray(x, jnp.int32)  # noqa: E731
    stretches = device(start[user]), device(first), device(end)
    return Windows(
        *stretches, DeviceHistories(device(known.items)), DeviceHistories(device(wanted), value=weight)
    ), len(user)


def reader(model: Model, stride: int | None, *, causal: bool) -> SequenceModel:
    """The model, if it reads sequences in this direction; else an InputError."""
    check_reader(type(model), model.history_length, stride, causal=causal)
    assert isinstance(model, SequenceModel)
    return model


def check_reader(model: type[Model], history_length: int, stride: int | None, *, causal: bool) -> None:
    """Raises an InputError for a model that a loss of sequences cannot teach."""
    name = model.__name__
    if not issubclass(model, SequenceModel):
        raise InputError(f"{name} does not read sequences: choose loss=bpr or softmax, or model=sasrec")
    if model.causal != causal:
        raise InputError(
            f"{name} looks only back, and guesses no hidden items: choose loss=sequence_softmax"
            if model.causal
            else f"{name} looks at both sides, and would see the item it is to predict: choose loss=masked_softmax"
        )
    if stride is not None and stride > history_length:
        raise InputError(
            f"loss.stride={stride} must not exceed model.history_length={history_length}: items would be left out"
        )


def _weight(wanted: History) -> Float[Array, "B T"]:
    asked = (wanted.items >= 0).astype(jnp.float32)
    return asked if wanted.value is None else asked * wanted.value


def _costs(
    objective: NextItem | MaskedItem,
    model: SequenceModel,
    params: Params,
    lesson: SequenceBatch,
    source: RandomStream,
    hyper: Hyper,
) -> Costs:
    """The cost of a batch, spread evenly over its examples."""
    rows = lesson.rows
    # A short batch repeats its last row; what is repeated is no example, and its cost is not to be spread.
    fresh = jnp.concatenate([jnp.ones(1, bool), rows[1:] != rows[:-1]]).astype(jnp.float32)
    lesson = lesson._replace(weight=lesson.weight * fresh[:, None])
    weights = jnp.sum(lesson.weight, axis=1)
    noise, draws = substream(source, DROPOUT), substream(source, NEGATIVES)

    def draw(numbers: Int[Array, "R"]) -> Negatives:
        assert objective.negatives is not None
        return objective.negatives(draws, numbers, model.n_items, hyper.n_negatives)

    def cost_of(params: Params, chunk: SequenceBatch) -> Float[Array, ""]:
        h = model.bind(params).encode(chunk.items, Noise(noise, chunk.rows))
        vectors = model.bind(params).item_vectors()
        return objective.cost(h, chunk.target, chunk.weight, vectors, chunk.rows, draw)

    total = in_chunks(cost_of, params, lesson)
    return total * fresh / jnp.sum(fresh), weights


def in_chunks(
    cost_of: Callable[[Params, SequenceBatch], Array], params: Params, lesson: SequenceBatch
) -> Float[Array, ""]:
    """The sum of `cost_of(params, chunk)`; its gradient is made chunk by chunk, in the same pass.

    The cost is a sum whose parts all count alike, so its gradient needs nothing that comes later.
    """
    n_rows, length = lesson.items.shape
    size = min(n_rows, max(1, CHUNK // length))
    lengths = sorted({length} | {n for n in (length // 2, length // 4) if n >= SHORTEST})
    used = jnp.max(jnp.where(lesson.items >= 0, length - jnp.arange(length)[None, :], 0), axis=1)
    order = jnp.argsort(-used)
    short = -n_rows % size
    order = jnp.pad(order, (0, short))
    chunks = jax.tree.map(lambda x: x[order].reshape(-1, size, *x.shape[1:]), lesson)
    counts = (jnp.arange(n_rows + short) < n_rows).astype(jnp.float32).reshape(-1, size, 1)
    chunks = chunks._replace(weight=chunks.weight * counts)
    longest = used[order].reshape(-1, size)[:, 0]
    branch = jnp.searchsorted(jnp.asarray(lengths), longest)

    def cut(n: int) -> Callable[[Params, SequenceBatch], PyTree]:
        def gradient(params: Params, chunk: SequenceBatch) -> PyTree:
            rows, *columns = chunk
            return jax.value_and_grad(cost_of)(params, SequenceBatch(rows, *(column[:, -n:] for column in columns)))

        return gradient

    branches = [cut(n) for n in lengths]

    @jax.custom_vjp
    def total(params: Params) -> Float[Array, ""]:
        return with_gradient(params)[0]

    def with_gradient(params: Params) -> tuple[Array, PyTree]:
        def add(sums: PyTree, piece: tuple[Array, SequenceBatch]) -> tuple[PyTree, None]:
            branch, chunk = piece
            found = jax.lax.switch(branch, branches, params, chunk)
            return jax.tree.map(jnp.add, sums, found), None

        start = jnp.float32(0), jax.tree.map(jnp.zeros_like, params)
        return jax.lax.scan(add, start, (branch, chunks))[0]

    total.defvjp(with_gradient, lambda gradient, scale: (jax.tree.map(lambda x: scale * x, gradient),))
    return total(params)
