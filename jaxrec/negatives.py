"""Samplers of negatives, drawn on the device inside the compiled epoch.

A sampler is called with the stream of an epoch, the positions of a batch's examples, the size of the catalogue, how
many negatives count, and what is `Given` of the batch. What it needs of the data it makes once, on the host, in
`prepare`. What an example draws depends on its position alone (see `jaxrec.random`); with `InBatch` and
`BatchShared` on its batch, with `Dynamic` on the model too: all are the same for a member of a population as alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from pydantic import Field, NonNegativeFloat, PositiveInt

from jaxrec.alias import Alias, alias
from jaxrec.data.interactions import Interactions, targets
from jaxrec.errors import InputError
from jaxrec.membership import Known, known
from jaxrec.random import Stream, bits, integers, substream

Share = Annotated[float, Field(ge=0, le=1)]

ATTEMPTS = 2  # draws until an item that its user knows is left out instead
MIXTURE = 101  # number of the stream that says where a negative comes from


class Candidates(NamedTuple):
    """Items to hold a positive against; `used` is 1 for those that count, else 0.

    items: of each example; one row where the whole batch shares them, so that scores can be one matrix product
    log_q: of each item of the catalogue, the log of how likely a draw gives it; None: all alike, or unknown
    """

    items: Int[Array, "#B N"]
    used: Float[Array, "B N"]
    log_q: Float[Array, "I"] | None = None


class Given(NamedTuple):
    """What a sampler may look at: its own tables, the batch's users and positives, and the model.

    score: scores of candidates [B, N] by the model as it is; no gradient goes through them
    mined: what the model was last asked for, see `jaxrec.fitting.mining`
    """

    tables: Any
    user: Int[Array, "B"]
    positive: Int[Array, "B"]
    score: Callable[[Int[Array, "B N"]], Float[Array, "B N"]]
    mined: Any = None


class Tables(NamedTuple):
    """What samplers need of the data: None where they do not."""

    known: Known | None = None
    alias: Alias | None = None
    log_q: Float[Array, "I"] | None = None

    def draw(self, source: Stream, n_items: int, *counters: Array) -> Int[Array, "*S"]:
        """Items by the alias table; without one every item is equally likely."""
        return integers(source, n_items, *counters) if self.alias is None else self.alias.draw(source, *counters)

    def has(self, user: Int[Array, "B"], items: Int[Array, "#B N"]) -> Bool[Array, "B N"]:
        """Whether users know these items; nobody knows any where that is not asked for."""
        items = jnp.broadcast_to(items, (user.shape[0], items.shape[1]))
        return jnp.zeros(items.shape, bool) if self.known is None else self.known.contains(user, items)


@dataclass(frozen=True)
class Uniform:
    """`ratio` items for each positive, every item equally likely.

    ratio: the number drawn: the largest in a population. A member uses its first `n_negatives` columns, which are what
        it would draw alone
    exclude_known: never an item that the user has in train. What comes up is drawn again, once; an item that is known
        then too does not count. Memory: see `jaxrec.membership.known`
    """

    ratio: PositiveInt = 4
    exclude_known: bool = False

    power: ClassVar[float] = 0.0
    mixes: ClassVar[bool] = True  # draws for each example, so that another sampler may draw some of its negatives

    def prepare(self, train: Interactions) -> Any:
        """The tables of this sampler."""
        return Tables(known(train) if self.exclude_known else None, *_alias(self.probabilities(train), self.power))

    def probabilities(self, train: Interactions) -> np.ndarray | None:
        """How likely each item is to be drawn, float64 [I]; None where that depends on the model."""
        weight = np.bincount(targets(train).item, minlength=train.n_items).astype(np.float64) ** self.power
        return weight / weight.sum()

    def __call__(
        self,
        source: Stream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        given: Given | None = None,
    ) -> Candidates:
        """Draws [B, ratio] items for the examples at these positions of the training data."""
        if given is None and (self.power or self.exclude_known):
            raise InputError(
                "this loss draws negatives without looking at the data: negatives=uniform with "
                "negatives.exclude_known=false is what it can use"
            )
        column = jnp.arange(self.ratio, dtype=jnp.int32)[None, :]
        tables: Tables = Tables() if given is None else given.tables
        items = tables.draw(source, n_items, examples[:, None], column)
        used = jnp.broadcast_to((column < n_negatives).astype(jnp.float32), items.shape)
        if given is None or tables.known is None:
            return Candidates(items, used, tables.log_q)
        has = tables.has(given.user, items)
        for attempt in range(1, ATTEMPTS):
            again = tables.draw(substream(source, attempt), n_items, examples[:, None], column)
            items = jnp.where(has, again, items)
            has = has & tables.has(given.user, items)
        return Candidates(items, used * (~has).astype(jnp.float32), tables.log_q)


@dataclass(frozen=True)
class Popularity(Uniform):
    """Items in proportion to (how often they occur in train)^power.   [Mikolov et al. 2013; Rendle et al. 2014]

    power: 1 as often as in the data, 0.75 as in word2vec, 0 uniform
    """

    power: NonNegativeFloat = 0.75  # type: ignore[misc]  # a field here, a constant above


@dataclass(frozen=True)
class BatchShared(Popularity):
    """One set of `ratio` items for a whole batch: its scores are one matrix product where the model factorises.

    A set may be large for what it costs. An example's own item does not count against it, nor do known ones where
    they are excluded.
    """

    ratio: PositiveInt = 64
    power: NonNegativeFloat = 0.0  # type: ignore[misc]
    mixes: ClassVar[bool] = False

    def __call__(
        self,
        source: Stream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        given: Given | None = None,
    ) -> Candidates:
        """Draws [1, ratio] items; the batch is known by its first example."""
        assert given is not None
        column = jnp.arange(self.ratio, dtype=jnp.int32)[None, :]
        items = given.tables.draw(source, n_items, examples[:1, None], column)
        counts = (column < n_negatives) & (items != given.positive[:, None]) & ~given.tables.has(given.user, items)
        return Candidates(items, counts.astype(jnp.float32), given.tables.log_q)


@dataclass(frozen=True)
class InBatch(Uniform):
    """The items of the `ratio` examples that follow in the batch, cyclically; from a batch's size on, of all of it.

    Items come up as often as in the data: a softmax corrects for that by log q.   [Yi et al. 2019, Sampling-bias-
    corrected neural modeling for large corpus item recommendations]   The same item does not count (an accidental hit).
    """

    power: ClassVar[float] = 1.0
    mixes: ClassVar[bool] = False

    def prepare(self, train: Interactions) -> Tables:
        """Nothing is drawn, so that the log of how often items occur is enough."""
        tables: Tables = super().prepare(train)
        return tables._replace(alias=None)

    def __call__(
        self,
        source: Stream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        given: Given | None = None,
    ) -> Candidates:
        """Takes [B, ratio] items, or the whole batch as [1, B]."""
        assert given is not None
        size = examples.shape[0]
        # A short batch repeats its last example: what is repeated is no example.
        real = jnp.concatenate([jnp.ones(1, bool), examples[1:] != examples[:-1]])
        place = jnp.arange(size, dtype=jnp.int32)[:, None]
        if self.ratio < size - 1:
            column = jnp.arange(self.ratio, dtype=jnp.int32)[None, :]
            other = (place + 1 + column) % size
            items, counts = given.positive[other], real[other] & (column < n_negatives)
        else:
            items, after = given.positive[None, :], (place.T - place - 1) % size
            counts = real[None, :] & (after < jnp.minimum(n_negatives, size - 1))
        counts = counts & (items != given.positive[:, None]) & ~given.tables.has(given.user, items)
        return Candidates(items, counts.astype(jnp.float32), given.tables.log_q)


@dataclass(frozen=True)
class Dynamic(Popularity):
    """Each negative is the one of `candidates` drawn items that the model, as it is, scores highest.

    [Zhang et al. 2013, Optimizing top-N collaborative filtering via dynamic negative item sampling]
    Costs `ratio * candidates` further scores an example, without their gradient.
    """

    power: NonNegativeFloat = 0.0  # type: ignore[misc]
    candidates: PositiveInt = 8

    def prepare(self, train: Interactions) -> Any:
        """The tables of what is drawn."""
        return self._drawn.prepare(train)

    def probabilities(self, train: Interactions) -> np.ndarray | None:
        """Unknown: they depend on the model."""
        return None

    @property
    def _drawn(self) -> Popularity:
        return Popularity(self.ratio * self.candidates, self.exclude_known, self.power)

    def __call__(
        self,
        source: Stream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        given: Given | None = None,
    ) -> Candidates:
        """Draws [B, ratio * candidates] items and keeps [B, ratio]."""
        assert given is not None
        drawn = self._drawn(source, examples, n_items, n_negatives * self.candidates, given)
        shape = (len(examples), self.ratio, self.candidates)
        scores = jnp.where(drawn.used > 0, given.score(drawn.items), -jnp.inf).reshape(shape)
        best = jnp.argmax(scores, axis=2)[:, :, None]
        items = jnp.take_along_axis(drawn.items.reshape(shape), best, axis=2)[:, :, 0]
        return Candidates(items, jnp.max(drawn.used.reshape(shape), axis=2))


@dataclass(frozen=True)
class Mixed:
    """Each negative comes from `first` with probability `share`, else from `second`; both draw for each example.

    A softmax corrects by the mixture's probabilities where both are known.
    """

    first: Any
    second: Any
    share: Share = 0.5
    ratio: PositiveInt = 4
    exclude_known: bool = False

    def prepare(self, train: Interactions) -> Any:
        """The tables of both, and the mixture's log q."""
        if not (self.first.mixes and self.second.mixes):
            raise InputError("negatives=mixed mixes uniform, popularity and dynamic; what a batch shares it cannot mix")
        one, other = (sampler.prepare(train) for sampler in self._samplers())
        both = [sampler.probabilities(train) for sampler in self._samplers()]
        if both[0] is None or both[1] is None:
            return one, other, None
        return one, other, _log(self.share * both[0] + (1 - self.share) * both[1])

    def __call__(
        self,
        source: Stream,
        examples: Int[Array, "B"],
        n_items: int,
        n_negatives: Int[Array, ""],
        given: Given | None = None,
    ) -> Candidates:
        """Draws [B, ratio] items of both and keeps one of two."""
        assert given is not None
        column = jnp.arange(self.ratio, dtype=jnp.int32)[None, :]
        one, other = (
            sampler(substream(source, 2 + i), examples, n_items, n_negatives, given._replace(tables=given.tables[i]))
            for i, sampler in enumerate(self._samplers())
        )
        from_first = chosen(substream(source, MIXTURE), self.share, examples[:, None], column)
        items = jnp.where(from_first, one.items, other.items)
        return Candidates(items, jnp.where(from_first, one.used, other.used), given.tables[2])

    def _samplers(self) -> tuple[Any, Any]:
        whole = {"ratio": self.ratio, "exclude_known": self.exclude_known}
        return replace(self.first, **whole), replace(self.second, **whole)


def chosen(source: Stream, share: float, *counters: Array) -> Bool[Array, "*S"]:
    """True with this probability, for each combination of counters."""
    return (bits(source, *counters) >> 8).astype(jnp.float32) < share * 2**24


def _alias(probabilities: np.ndarray | None, power: float) -> tuple[Alias | None, Array | None]:
    """The alias table and log q; nothing where all items are alike."""
    if probabilities is None or not power:
        return None, None
    return alias(probabilities), _log(probabilities)


def _log(probabilities: np.ndarray) -> Float[Array, "I"]:
    """-inf for an item that is never drawn."""
    with np.errstate(divide="ignore"):
        return jnp.asarray(np.log(probabilities), jnp.float32)
