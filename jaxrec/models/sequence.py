"""Base class of sequence models: an encoder output at every position of a history; the last one is the query vector.

score(u, i) = <h_T, q_i>, h = encode(the latest T items of u), or a cosine, or a mixture of several products.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from jaxrec.data.features import Sizes
from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.features import FeatureTable
from jaxrec.history import History
from jaxrec.hyper import Traced
from jaxrec.models.cosine import smoothed_unit
from jaxrec.models.dropout import Noise, kept
from jaxrec.models.embedding import Embedding
from jaxrec.models.mixture import Components, Mixture
from jaxrec.models.model import Factorized, Params
from jaxrec.models.relative_bias import time_buckets
from jaxrec.models.sequence_inputs import SequenceInputs
from jaxrec.pairs import every_pair
from jaxrec.query import Query

Rate = Annotated[float, Field(ge=0, lt=1)]
COLUMNS = {  # settings that read columns of histories: the column, and the column of the data that it comes from
    "event_kind": ("event", "event"),
    "time_gap": ("gap", "time"),
    "time_bias": ("gap", "time"),
    "value": ("value", "value"),
    "calendar": ("hour", "time"),
}


class Context(NamedTuple):
    """Data of a batch of windows besides the items: columns of the events, and the users."""

    history: History
    user: Int[Array, "B"]


class SequenceModel(Factorized):
    """A model that scores items by the user's history only. A family defines `encode` and `item_vectors`.

    Attributes:
        history_length: number of latest items read (T); static
        temperature: None: scores are dot products; otherwise cosines divided by it, which suits sparse data; traced
        query_components: 0: one product or cosine per pair; otherwise the number of components of a query in a mixture
            of logits, see `jaxrec.models.mixture`
        item_components: number of components of an item; None: as many as of a query
        component_dim: dimension of a component; None: embedding_dim
        gate_units: hidden units of each of the three gates
        item_features: add the items' features to their vectors, as input and as output; items without training
            interactions then have vectors of features alone
        id_dropout: share of items whose id is dropped in a training step, so that features alone suffice; traced
        user_features: read the users' features
        event_kind: read event types
        time_gap: number of logarithmic buckets of the time since the previous event, up to a year; 0: not read
        calendar: read hour of the day and day of the week (UTC)
        value: number of logarithmic buckets of the value or quantity, up to 1,000; 0: not read
        n_events, item_table, user_table, item_sizes, user_sizes: set from the data

    Items are padded on the left with -1; outputs do not depend on the amount of padding. See `SequenceInputs` for the
    optional inputs. Only the past is read: nothing of the item to predict but the item itself.
    """

    n_items: int
    history_length: PositiveInt = 50
    temperature: PositiveFloat | Traced | None = None
    query_components: NonNegativeInt = 0
    item_components: PositiveInt | None = None
    component_dim: PositiveInt | None = None
    gate_units: PositiveInt = 16
    item_features: bool = False
    id_dropout: Rate | Traced = 0.0
    user_features: bool = False
    event_kind: bool = False
    time_gap: NonNegativeInt = 0
    calendar: bool = False
    value: NonNegativeInt = 0
    n_events: int = 0
    item_table: FeatureTable | None = None
    user_table: FeatureTable | None = None
    item_sizes: tuple[tuple[int, ...], tuple[int, ...], int] = Sizes()
    user_sizes: tuple[tuple[int, ...], tuple[int, ...], int] = Sizes()
    causal = True  # outputs at a position do not depend on later positions
    has_inputs = False  # whether the family reads the optional inputs, by `embedded`, `with_inputs` and `catalog`
    has_head = False  # whether it has cosines and mixtures, by `head_layer`, `as_queries` and `as_items`
    has_item_bias = False  # whether it adds a bias of the item to the score

    @property
    def history_columns(self) -> tuple[str, ...]:
        """Columns of histories that the model reads besides the items."""
        return tuple(dict.fromkeys(COLUMNS[setting][0] for setting in self._reading()))

    @property
    def tables_read(self) -> tuple[str, ...]:
        """Names of the feature tables that the model reads."""
        used = {"item_table": self.item_features, "user_table": self.user_features}
        return tuple(name for name, is_read in used.items() if is_read)

    @property
    def reads_context(self) -> bool:
        """Whether `encode` needs more than items."""
        return bool(self.history_columns or self.user_features)

    def encode(
        self, items: Int[Array, "B T"], noise: Noise | None = None, context: Context | None = None
    ) -> Float[Array, "B T D"]:
        """Encoder output at each position, scored against `item_vectors`.

        Args:
            items: histories, oldest item first, left-padded with -1.
            noise: turns dropout on; None in evaluation.
            context: columns of the events and the users; only passed to a model that reads more than items.
        """
        raise self._lacks("encode(items, noise)")

    def item_vectors(self, noise: Noise | None = None) -> Float[Array, "I D"]:
        """The vector of every item; `noise`, which drops ids, is only passed to a model that reads item features."""
        raise self._lacks("item_vectors()")

    def query_vectors(self, query: Query) -> Float[Array, "B D"]:
        """Encoder output at the end of each history, which may be empty."""
        history = query.history
        if history is None:
            if not self.is_initializing():
                name = type(self).__name__
                raise InputError(
                    f"{name} needs histories, which this loss does not provide: choose loss={self.usual_loss()}"
                )
            history = History(jnp.full((query.user.shape[0], self.history_length), -1, jnp.int32))
        return self.after(history, query.user)

    @classmethod
    def usual_loss(cls) -> str:
        """A loss that any model of this kind can be trained with, a name of conf/loss."""
        return "sequence_softmax" if cls.causal else "masked_softmax"

    def after(self, history: History, user: Int[Array, "B"]) -> Float[Array, "B D"]:
        """Query vectors of histories."""
        if self.reads_context:
            return self.encode(history.items, None, Context(history, user))[:, -1]
        return self.encode(history.items)[:, -1]

    @property
    def is_dot_product(self) -> bool:
        """Whether scores are dot products of the vectors: those of a mixture are not."""
        return not self.query_components

    @property
    def pair_floats(self) -> int:
        """Floats allocated per user-item pair during scoring."""
        n_products = self.query_components * (self.item_components or self.query_components)
        return 4 * n_products + 2 * self.gate_units if n_products else 1

    def head_layer(self, dim: int) -> Mixture | None:
        """The layer of a mixture, which `setup` assigns to `head`; None for one product per pair."""
        if self.is_dot_product:
            return None
        numbers = self.query_components, self.item_components or self.query_components
        return Mixture(Components(*numbers, self.component_dim or dim), self.gate_units)

    def as_queries(self, x: Float[Array, "B T D"]) -> Float[Array, "B T Q"]:
        """Encoder outputs as vectors to score: unchanged, of norm 1 / temperature, or components of a mixture."""
        if not self.is_dot_product:
            return self.head.queries(x, self.temperature)
        return x if self.temperature is None else smoothed_unit(x) / self.temperature

    def as_items(self, table: Float[Array, "I D"]) -> Float[Array, "I D2"]:
        """Vectors of items as vectors to score, see `as_queries`."""
        if not self.is_dot_product:
            return self.head.items(table, self.temperature)
        return table if self.temperature is None else smoothed_unit(table)

    def comparison(self) -> Partial | None:
        """Function that scores query vectors [B, D] with item vectors as columns [D2, N]; None: dot products."""
        return None if self.is_dot_product else self.head.comparison()

    def all_pairs(self, queries: Float[Array, "B D"], items: Float[Array, "N D2"]) -> Float[Array, "B N"]:
        """Scores of every query vector with every item vector."""
        if (compare := self.comparison()) is None:
            return super().all_pairs(queries, items)
        return every_pair(lambda query, columns: compare(query[None], columns)[0], queries, items.T, self.pair_floats)

    def own_pairs(self, queries: Float[Array, "B D"], items: Float[Array, "B N D2"]) -> Float[Array, "B N"]:
        """Scores of every query vector with its own item vectors."""
        if (compare := self.comparison()) is None:
            return super().own_pairs(queries, items)
        return jax.vmap(lambda query, columns: compare(query[None], columns)[0])(queries, items.swapaxes(1, 2))

    def input_layer(self, dim: int, std: float) -> SequenceInputs | None:
        """The layer of the optional inputs, which `setup` assigns to `inputs`; None if the model reads items only."""
        if not (self.reads_context or self.item_features):
            return None
        return SequenceInputs(
            dim,
            std,
            n_events=self.n_events if self.event_kind else 0,
            time_gap=self.time_gap,
            value=self.value,
            calendar=self.calendar,
            item_sizes=Sizes(*self.item_sizes) if self.item_features else None,
            user_sizes=Sizes(*self.user_sizes) if self.user_features else None,
        )

    def embedded(self, items: Int[Array, "B T"], noise: Noise | None) -> Float[Array, "B T D"]:
        """Input vectors of items."""
        return self.catalog(noise)[items] if self.item_features else self.item_embedding.lookup(items)

    def catalog(self, noise: Noise | None = None, table: Embedding | None = None) -> Float[Array, "I D"]:
        """Vectors of the whole catalog: ids, by default of the input table, plus features."""
        ids = (self.item_embedding if table is None else table).whole()
        if not self.item_features:
            return ids
        if noise is not None and noise.step is not None:
            ids = jnp.where(kept(self.id_dropout, noise.step, jnp.arange(len(ids)))[:, None], ids, 0)
        assert self.item_table is not None
        features = self.inputs.of_items(self.item_table)
        return ids + jnp.pad(features, ((0, len(ids) - len(features)), (0, 0)))  # a mask token has no features

    def with_inputs(
        self, x: Float[Array, "B T D"], items: Int[Array, "B T"], context: Context | None
    ) -> tuple[Float[Array, "B S D"], Bool[Array, "B S"]]:
        """Inputs with the optional parts added, and which positions are used; the latest T positions are the items'."""
        if not self.reads_context:
            return x, items >= 0
        if context is None:
            context = Context(History(items), jnp.full(len(items), -1, jnp.int32))
        users = None if self.user_table is None else self.user_table.rows(context.user)
        return self.inputs(x, items, context.history, users)

    def elapsed(self, items: Int[Array, "B T"], context: Context | None) -> Int[Array, "B S S"] | None:
        """Buckets of the time between the positions of `with_inputs`, for `time_bias`; None if the model has none."""
        if "time_bias" not in self._reading():
            return None
        gap = None if context is None else context.history.gap
        buckets = time_buckets(jnp.full(items.shape, -1.0) if gap is None else gap, items >= 0)
        if not self.user_features:
            return buckets
        return jnp.pad(buckets, ((0, 0), (1, 0), (1, 0)), constant_values=-1)  # the user alone has no time

    def is_new(self) -> Bool[Array, "I"]:
        """Items without training interactions, for a model of item features: their ids have vectors of zeros."""
        return ~jnp.any(self.item_embedding.whole()[: self.n_items] != 0, axis=1)

    def pretrained(self, fresh: Params, train: Interactions) -> Params:
        """With item features, ids without training interactions start, and stay, at zero; see `is_new`."""
        if not self.item_features:
            return fresh
        new = np.flatnonzero(np.bincount(train.item, minlength=self.n_items) == 0)
        tables = {
            name: fresh["params"][name] for name in ("item_embedding", "output_embedding") if name in fresh["params"]
        }
        zeroed = {name: {"table": part["table"].at[:, new].set(0)} for name, part in tables.items()}
        return fresh | {"params": fresh["params"] | zeroed}

    def check_data(self, train: Interactions) -> None:
        """Raise an InputError if the data lacks an input that is switched on, or the model cannot read it."""
        columns = [(setting, COLUMNS[setting][1]) for setting in self._reading()]
        features = [name.replace("table", "features") for name in self.tables_read]
        if not self.has_inputs and (read := [*(setting for setting, _ in columns), *features]):
            raise InputError(f"{type(self).__name__} reads item ids only: remove model.{read[0]}")
        for setting, attribute in columns:
            if getattr(train, attribute) is None:
                raise InputError(
                    f"model.{setting} needs {attribute}s, and the data has none: set data.{attribute}_column, or "
                    f"remove model.{setting}"
                )
        encoded = train.encoded
        for setting in features:
            part = None if encoded is None else encoded.of_items if setting == "item_features" else encoded.of_users
            if part is None or part.sizes == Sizes():
                raise InputError(
                    f"model.{setting}=true, and the data has no features that can be used: set data.{setting} to a "
                    f"file, or model.{setting}=false"
                )
        if not self.item_features and isinstance(self.id_dropout, float) and self.id_dropout > 0:
            raise InputError(
                f"model.id_dropout={self.id_dropout} only has an effect with model.item_features=true: set both, or "
                "remove it; a search over both needs its condition, when: {model.item_features: true}"
            )

    def _reading(self) -> tuple[str, ...]:
        """Settings that are on and read columns of histories; not every family has `time_bias`."""
        return tuple(setting for setting in COLUMNS if getattr(self, setting, False))
