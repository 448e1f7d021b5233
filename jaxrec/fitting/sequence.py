"""Sequence objectives: one example is a window of a user's history, with a loss at each of its positions.

A CPU processes a batch in chunks, see `fitting.chunks`; accelerators process it as a whole, in few large kernels.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree
from pydantic import PositiveInt

from jaxrec import backend
from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.fitting.chunks import SequenceBatch, in_chunks
from jaxrec.fitting.objective import MASKED_SCORE, Costs, Objective
from jaxrec.fitting.sequence_losses import Cost
from jaxrec.fitting.sequence_negatives import Draw
from jaxrec.history import DeviceHistories, History, device_histories
from jaxrec.hyper import Share
from jaxrec.mesh import whole_batch
from jaxrec.models.dropout import Noise
from jaxrec.models.model import Model, Params
from jaxrec.models.sequence import Context, SequenceModel
from jaxrec.negatives.sampler import Sampler
from jaxrec.random import RandomStream, bits, substream

NEGATIVES, DROPOUT, MASKS, ITEMS = 0, 1, 2, 3  # numbers of the random substreams


class Windows(NamedTuple):
    """Windows of histories: the entries that each reads, and those that it predicts.

    Attributes:
        inputs: the entries that are read
        targets: the target items, -1 for entries that are history only, and their weights as `value` (None: 1)
        user: user of each window
        tables: tables of the sampler
        mined: the member's latest mined negatives, see `jaxrec.fitting.mining`
    """

    inputs: DeviceHistories
    targets: DeviceHistories
    user: Int[Array, "R"]
    tables: PyTree = None
    mined: Int[Array, "U M"] | None = None


@dataclass(frozen=True)
class WindowObjective(Objective):
    """Base class of objectives whose examples are windows, with a loss at their positions.

    Attributes:
        cost: loss of a position
        negatives: a sampler, for losses that need one
        stride: None: only each user's latest window. Otherwise all windows at this stride, each with `stride` new
            targets; windows overlap if it is below the history length, which gives targets more context
    """

    cost: Cost
    negatives: Sampler | None = None
    stride: PositiveInt | None = None
    split_batch = True  # over devices that no member uses
    causal: ClassVar[bool]  # whether it trains causal models, else bidirectional ones
    ahead: ClassVar[int]  # number of entries by which the targets are ahead of the inputs

    def with_columns(self, examples: Windows, train: Interactions, columns: tuple[str, ...]) -> Windows:
        """The windows with these columns of their inputs."""
        every = device_histories(train.histories, hour="hour" in columns)
        inputs = examples.inputs._replace(**{name: getattr(every, name) for name in columns})
        return examples._replace(inputs=inputs)

    def examples(self, train: Interactions, history_length: int = 0) -> tuple[Windows, int]:
        """Windows of all users with more than `ahead` interactions, and the tables of the sampler."""
        examples, n = windows(train, self.stride, self.ahead)
        return examples if self.negatives is None else examples._replace(tables=self.negatives.prepare(train)), n

    def hidden(
        self, source: RandomStream, rows: Int[Array, "B"], items: Int[Array, "B T"]
    ) -> Bool[Array, "B T"] | None:
        """Positions whose items are hidden from the model, and alone are targets; None: all are read, and targets."""
        return None

    def costs(
        self,
        model: Model,
        params: Params,
        examples: Windows,
        rows: Int[Array, "B"],
        source: RandomStream,
        penalized: bool,
    ) -> Costs:
        """The cost of the batch, divided evenly among its examples, and the weight of each."""
        model = as_sequence_model(model, self.stride, causal=self.causal)
        history, targets = (x.latest(rows, model.history_length) for x in (examples.inputs, examples.targets))
        items, target, weight = history.items, targets.items, _weight(targets)
        hidden = self.hidden(substream(source, MASKS), rows, target)
        if hidden is not None:
            items, history = jnp.where(hidden, model.n_items, items), history.without(hidden)
            target, weight = jnp.where(hidden, target, -1), jnp.where(hidden, weight, 0)
        context = Context(history, examples.user[rows]) if model.reads_context else None
        return _costs(self, model, params, examples, SequenceBatch(rows, items, target, weight, context), source)


@dataclass(frozen=True)
class NextItem(WindowObjective):
    """Next-item prediction at every position of a window, for causal models."""

    causal = True
    ahead = 1


@dataclass(frozen=True)
class MaskedItem(WindowObjective):
    """Masked-item prediction (Cloze task): predict masked items of a window.   [Sun et al. 2019, BERT4Rec]

    Attributes:
        mask: share of items that is masked
        trailing: share of windows in which only the last item is masked, as when the model recommends
    """

    mask: Share = 0.2
    trailing: Share = 0.1
    causal = False
    ahead = 0

    def hidden(self, source: RandomStream, rows: Int[Array, "B"], items: Int[Array, "B T"]) -> Bool[Array, "B T"]:
        """Random mask of items; if none of a window is drawn, its last item is masked."""
        back = jnp.arange(items.shape[1] - 1, -1, -1)[None, :]
        uniform = lambda *places: (bits(source, *places) >> 8).astype(jnp.float32) / 2**24  # noqa: E731
        last = (back == 0) & (items >= 0)
        chosen = (uniform(rows[:, None], back + 1) < self.mask) & (items >= 0)
        alone = (uniform(rows, jnp.zeros_like(rows)) < self.trailing) | ~jnp.any(chosen, axis=1)
        return jnp.where(alone[:, None], last, chosen)


def windows(train: Interactions, stride: int | None, ahead: int) -> tuple[Windows, int]:
    """Windows of all users, and their number.

    Args:
        train: training interactions.
        stride: None: one window per user, ending at the latest entry; otherwise further windows end every `stride`
            entries before it.
        ahead: number of entries by which the targets are ahead of the inputs; as many come before any target.
    """
    known = train.histories
    start, stop = known.offsets[:-1], known.offsets[1:]
    n_targets = np.maximum(stop - start - ahead, 0)
    count = (n_targets > 0).astype(np.int64) if stride is None else -(-n_targets // stride)
    user = np.repeat(np.arange(len(count)), count)
    if not len(user):
        raise InputError(
            f"{train.name}: no user has {ahead + 1} or more training interactions, which sequence models need: use "
            "more data, or choose another model"
        )
    back = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
    end = stop[user] - back * (stride or 0)
    first = np.maximum(start[user] + ahead, end - stride) if stride else start[user] + ahead
    targets = known.items if known.target is None else np.where(known.target, known.items, -1)
    weight = None if train.weight is None else jnp.asarray(train.weight[train.user_order[1]], jnp.float32)
    device = lambda x: jnp.asarray(x, jnp.int32)  # noqa: E731
    inputs = DeviceHistories(device(start[user]), device(end - ahead), device(known.items))
    ends = DeviceHistories(device(first), device(end), device(targets), value=weight)
    return Windows(inputs, ends, device(user)), len(user)


def as_sequence_model(model: Model, stride: int | None, *, causal: bool) -> SequenceModel:
    """Return the model if it is a sequence model with this kind of attention; otherwise raise an InputError."""
    check_sequence_model(model, model.history_length, stride, causal=causal)
    assert isinstance(model, SequenceModel)
    return model


def check_sequence_model(model: Model | type[Model], history_length: int, stride: int | None, *, causal: bool) -> None:
    """Raise an InputError for a model that cannot be trained by a sequence loss.

    Args:
        model: the model or its class.
        history_length: its history length.
        stride: stride of the windows.
        causal: whether the loss needs a causal model or a bidirectional one.
    """
    kind = model if isinstance(model, type) else type(model)
    name = kind.__name__
    if not issubclass(kind, SequenceModel):
        raise InputError(f"{name} is not a sequence model: choose loss=bpr or softmax, or model=sasrec")
    is_causal = model.causal if isinstance(model, SequenceModel) else kind.causal
    if is_causal != causal:
        raise InputError(
            f"{name} is causal and cannot predict masked items: choose loss=sequence_softmax"
            if is_causal
            else f"{name} is bidirectional and would see the item it must predict: choose loss=masked_softmax"
        )
    if stride is not None and stride > history_length:
        raise InputError(
            f"loss.stride={stride} must not exceed model.history_length={history_length}, or items would be skipped"
        )


def _weight(targets: History) -> Float[Array, "B T"]:
    is_target = (targets.items >= 0).astype(jnp.float32)
    return is_target if targets.value is None else is_target * targets.value


def _costs(
    objective: WindowObjective,
    model: SequenceModel,
    params: Params,
    examples: Windows,
    batch: SequenceBatch,
    source: RandomStream,
) -> Costs:
    """The cost of a batch, divided evenly among its examples."""
    rows = batch.rows
    # A short batch is padded by repeating its last row; repetitions get weight 0 and no share of the cost.
    fresh = jnp.concatenate([jnp.ones(1, bool), rows[1:] != rows[:-1]]).astype(jnp.float32)
    batch = batch._replace(weight=batch.weight * fresh[:, None])
    weights = jnp.sum(batch.weight, axis=1)
    noise, draw = substream(source, DROPOUT), None
    of_step = substream(substream(source, ITEMS), whole_batch(rows)[0]) if model.item_features else None
    if objective.negatives is not None:
        draws, own = substream(source, NEGATIVES), (examples.user, examples.tables, examples.mined)
        draw = Draw(objective.negatives, draws, model.n_items, *own, whole_batch(rows), whole_batch(batch.target))

    def cost_of(params: Params, chunk: SequenceBatch) -> Float[Array, ""]:
        h, vectors = _encoded(model, params, chunk, Noise(noise, chunk.rows, of_step))
        compare = model.bind(params).comparison()
        more = () if compare is None else (compare,)
        return objective.cost(h, chunk.target, chunk.weight, vectors, chunk.rows, draw, *more)

    total = cost_of(params, batch) if backend.choices().encode_block is None else in_chunks(cost_of, params, batch)
    return total * fresh / jnp.sum(fresh), weights


def _encoded(
    model: SequenceModel, params: Params, chunk: SequenceBatch, noise: Noise
) -> tuple[Float[Array, "B T D"], Float[Array, "I D2"]]:
    """Encoder outputs and item vectors.

    Items that no user had in training are never negatives, or their features would be learned to be disliked: a
    further column adds `MASKED_SCORE` to their scores.
    """
    bound = model.bind(params)
    h = bound.encode(chunk.items, noise, *([] if chunk.context is None else [chunk.context]))
    if not model.item_features:
        return h, bound.item_vectors()
    vectors, never = bound.item_vectors(noise), jnp.where(bound.is_new(), MASKED_SCORE, 0.0)
    return jnp.concatenate([h, jnp.ones_like(h[:, :, :1])], axis=2), jnp.concatenate([vectors, never[:, None]], axis=1)
