"""Inputs of sequence models besides item ids: a sum of embeddings at every position of a history.

    x_t = e_i + f_i + k_t + g_t + c_t + v_t + u      and the vector of an item to score is e_i + f_i

e is the item's id, f its features, k the event type, g the bucket of the time since the previous event, c hour of the
day and day of the week, v the bucket of the value, u the user's features. u is added at every position, and one more
position before the first event has u alone: a user without events has an input, too. Unknown parts are 0.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from pydantic import NonNegativeFloat

from jaxrec.data.features import Sizes
from jaxrec.features import FeatureTable
from jaxrec.history import History
from jaxrec.models.embedding import Embedding
from jaxrec.models.feature_embedding import FeatureEmbedding

MAX_GAP = 365 * 86_400.0  # seconds, where the last bucket of gaps starts to take everything
MAX_VALUE = 1_000.0  # the same for values
HOURS, DAYS = 24, 7
THURSDAY = 3  # 1970-01-01, counted from Monday


class SequenceInputs(nn.Module):
    """Embeddings of what is known of events, items and users besides item ids; a part of size 0 or None is absent.

    Attributes:
        dim: dimension of the vectors
        std: root-mean-square norm of an initial vector
        n_events: number of event types
        time_gap, value: number of buckets, equally wide in log(1 + seconds) and log(1 + value)
        calendar: embed hour of the day and day of the week, in UTC
        item_sizes, user_sizes: sizes of the features
    """

    dim: int
    std: NonNegativeFloat
    n_events: int = 0
    time_gap: int = 0
    value: int = 0
    calendar: bool = False
    item_sizes: Sizes | None = None
    user_sizes: Sizes | None = None

    def setup(self) -> None:
        if self.n_events:
            self.event_embedding = Embedding(self.n_events, self.dim, std=self.std)
        if self.time_gap:
            self.gap_embedding = Embedding(self.time_gap, self.dim, std=self.std)
        if self.value:
            self.value_embedding = Embedding(self.value, self.dim, std=self.std)
        if self.calendar:
            self.hour_embedding = Embedding(HOURS, self.dim, std=self.std)
            self.day_embedding = Embedding(DAYS, self.dim, std=self.std)
        if self.item_sizes is not None:
            self.item_part = SummedFeatures(self.item_sizes, self.dim, self.std)
        if self.user_sizes is not None:
            self.user_part = SummedFeatures(self.user_sizes, self.dim, self.std)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        items: Int[Array, "B T"],
        history: History,
        users: FeatureTable | None,
    ) -> tuple[Float[Array, "B S D"], Bool[Array, "B S"]]:
        """Inputs with all parts added, and which positions are used; with user features S is T + 1, otherwise T.

        Args:
            x: vectors of the items.
            items: the items, -1 for padding.
            history: columns of the events; those that are None are unknown.
            users: features of the users.
        """
        x, real = x + self.of_events(items, history), items >= 0
        if self.user_sizes is None:
            return x, real
        assert users is not None
        x = jnp.pad(jnp.where(real[:, :, None], x, 0), ((0, 0), (1, 0), (0, 0)))
        real = jnp.pad(real, ((0, 0), (1, 0)))
        real = real | jnp.pad(real, ((0, 0), (0, 1)), constant_values=True)[:, 1:]  # the one before the first event
        return x + jnp.where(real[:, :, None], self.user_part(users)[:, None], 0), real

    def of_items(self, items: FeatureTable) -> Float[Array, "I D"]:
        """Feature vectors f of the whole catalog."""
        vectors: Float[Array, "I D"] = self.item_part(items)
        return vectors

    def of_events(self, items: Int[Array, "B T"], history: History) -> Float[Array, "B T D"]:
        """Sum of the parts that describe events."""
        total = jnp.zeros((*items.shape, self.dim))
        hour = history.hour
        parts = []
        if self.n_events:
            parts.append((self.event_embedding, history.event))
        if self.time_gap:
            parts.append((self.gap_embedding, bucket(history.gap, self.time_gap, MAX_GAP)))
        if self.value:
            value = None if history.value is None else jnp.maximum(history.value, 0)
            parts.append((self.value_embedding, bucket(value, self.value, MAX_VALUE)))
        if self.calendar:
            parts.append((self.hour_embedding, None if hour is None else jnp.where(hour < 0, -1, hour % HOURS)))
            day = None if hour is None else jnp.where(hour < 0, -1, (hour // HOURS + THURSDAY) % DAYS)
            parts.append((self.day_embedding, day))
        for table, codes in parts:
            codes = jnp.full_like(items, -1) if codes is None else jnp.where(items < 0, -1, codes)
            total = total + jnp.where((codes >= 0)[:, :, None], table.lookup(jnp.maximum(codes, 0)), 0)
        return total


class SummedFeatures(nn.Module):
    """One vector per row: the sum of the vectors of `FeatureEmbedding` and of a linear map of its numbers."""

    sizes: Sizes
    dim: int
    std: NonNegativeFloat

    @nn.compact
    def __call__(self, rows: FeatureTable) -> Float[Array, "*S D"]:
        features = FeatureEmbedding(Sizes(*self.sizes), self.dim, self.std, name="embedding")
        total = jnp.sum(features.vectors(rows), axis=-2)
        if not (n := rows.numbers.shape[-1]):
            return total
        # Standardized numbers: the initial output has the norm of an initial vector.
        small = nn.initializers.normal(self.std / (n * self.dim) ** 0.5)
        return total + nn.Dense(self.dim, use_bias=False, kernel_init=small, name="numbers")(features.numbers(rows))


def bucket(x: Float[Array, "B T"] | None, n: int, largest: float) -> Int[Array, "B T"] | None:
    """Buckets 0 .. n - 1 of equal width in log(1 + x) from 0 to `largest`; -1 if x is negative or NaN."""
    if x is None:
        return None
    place = jnp.floor(jnp.log1p(jnp.maximum(x, 0)) * (n / jnp.log1p(jnp.float32(largest))))
    return jnp.where(x >= 0, jnp.clip(place, 0, n - 1), -1).astype(jnp.int32)
