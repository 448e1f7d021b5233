"""Feature tables on the device: one row per user or item, gathered by id, for models to embed."""

from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrec.data.features import Encoded, Features, Sizes

Module = TypeVar("Module", bound=nn.Module)


class FeatureTable(NamedTuple):
    """Rows of `Features`: codes of C categories and of G bags (0: unknown or padding), and F numbers.

    Embedding tables have the sizes of the vocabularies in `Features.schema`.
    """

    categories: Int[Array, "*R C"]
    bags: Int[Array, "*R G L"]
    numbers: Float[Array, "*R F"]

    def rows(self, ids: Int[Array, "*B"]) -> "FeatureTable":
        """Features of these ids, which may have any shape; padding (-1) has unknown features."""
        # Negative indices would wrap around.
        place = jnp.where(ids < 0, self.categories.shape[0], ids)
        return FeatureTable(*(column.at[place].get(mode="fill", fill_value=0) for column in self))


def table(features: Features) -> FeatureTable:
    """Copy host features to the device."""
    return FeatureTable(*(jnp.asarray(part) for part in (features.categories, features.bags, features.numbers)))


class FeatureTables(NamedTuple):
    """Feature tables of users and items; None if the model has no field of this name, or the data has no features."""

    user_table: FeatureTable | None = None
    item_table: FeatureTable | None = None


@runtime_checkable
class ReadsTables(Protocol):
    """A model that says which feature tables it reads; every `jaxrec.models.Model` does."""

    @property
    def tables_read(self) -> tuple[str, ...]:
        """Names of the tables, `user_table` and `item_table`."""
        ...

    def has_field(self, name: str) -> bool:
        """Whether the model has a field of this name."""
        ...


def tables(model: ReadsTables, encoded: Encoded | None) -> FeatureTables:
    """The feature tables that a model reads, on the device."""
    if encoded is None:
        return FeatureTables()
    users = encoded.of_users if "user_table" in model.tables_read else None
    items = encoded.of_items if "item_table" in model.tables_read else None
    return FeatureTables(table(users) if users is not None else None, table(items) if items is not None else None)


def with_tables(model: Module, feature_tables: FeatureTables) -> Module:
    """The model with these tables as fields, for use inside a compiled program."""
    return model.clone(**{name: value for name, value in feature_tables._asdict().items() if value is not None})


def sizes(model: ReadsTables, encoded: Encoded | None) -> dict[str, Sizes]:
    """Vocabulary sizes of the tables that a model reads, as its fields `user_sizes` and `item_sizes`."""
    if encoded is None:
        return {}
    names = model.tables_read
    parts = {
        "user_sizes": encoded.of_users if "user_table" in names else None,
        "item_sizes": encoded.of_items if "item_table" in names else None,
    }
    return {name: part.sizes for name, part in parts.items() if part is not None and model.has_field(name)}
