"""Data from Python: a frame or a file → `Dataset` → `split`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from jaxrec import settings
from jaxrec.command_line import override
from jaxrec.config import compose
from jaxrec.data.interactions import Interactions, summary
from jaxrec.data.reading.tables import source
from jaxrec.data.splits.split import Split
from jaxrec.settings import Tree

_COLUMNS = {"user": "user_column", "item": "item_column", "value": "value_column", "time": "time_column"}
_SOURCES = ("path", "train", "validation", "test", "user_features", "item_features")  # files, or tables in memory


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Interactions of users with items, read and checked.

    Args:
        frame: one row an interaction: a pandas, polars or pyarrow table, or a file (CSV, TSV, Parquet).
        user: the column of user IDs.
        item: the column of item IDs.
        value: the column of ratings or quantities; None: every row counts alike.
        time: the column of times; None: the rows are in order.
        options: any other setting of `conf/data/files.yaml`, such as `k_core=5` or `item_features=FRAME`.

    Raises:
        InputError: a column that is missing, IDs or times that cannot be read, an unknown option.

    Example:
        >>> data = jaxrec.Dataset(frame, user="customer", item="sku", time="date")
        >>> data.n_users, data.n_items, len(data)

    Attributes:
        interactions: the interactions, users and items numbered.
        config: the settings of the group `data` that this was read with.
    """

    interactions: Interactions
    config: Tree

    def __init__(
        self,
        frame: Any,
        *,
        user: str = "user_id",
        item: str = "item_id",
        value: str | None = None,
        time: str | None = None,
        **options: Any,
    ) -> None:
        given = {"path": frame, "user_column": user, "item_column": item, "value_column": value, "time_column": time}
        self._read("files", given | options)

    @classmethod
    def read(cls, path: str | Path, **columns: Any) -> "Dataset":
        """Reads a file: CSV, TSV or Parquet, `.gz` and `.zst` too; columns and options as for `Dataset`."""
        return cls(Path(path), **columns)

    @classmethod
    def given_split(cls, train: Any, test: Any, validation: Any = None, **columns: Any) -> "Dataset":
        """Data that comes split, for `jaxrec.split(data, "given")`; frames or files, columns as for `Dataset`."""
        parts = {"path": None, "train": train, "validation": validation, "test": test}
        named = {_COLUMNS.get(name, name): option for name, option in columns.items()}
        return cls.named("files", **parts, **named)

    @classmethod
    def named(cls, name: str, **options: Any) -> "Dataset":
        """A data set of conf/data, such as `movielens_100k`; see `jaxrec.datasets`."""
        data = object.__new__(cls)
        data._read(name, options)
        return data

    def _read(self, name: str, options: Mapping[str, Any]) -> None:
        tables = {key: source(options[key]) for key in _SOURCES if options.get(key) is not None}
        plain = {key: option for key, option in options.items() if key not in tables}
        paths = {key: str(table) for key, table in tables.items() if isinstance(table, Path)}
        chosen = [override(f"data.{key}", value) for key, value in (plain | paths).items()]
        config = compose([f"data={name}", *chosen])["data"]
        settings.check({"data": config})
        in_memory = {key: table for key, table in tables.items() if not isinstance(table, Path)}
        object.__setattr__(self, "interactions", settings.build(config, **in_memory))
        object.__setattr__(self, "config", config)

    @property
    def n_users(self) -> int:
        """Users, those with no interaction of their own included."""
        return self.interactions.n_users

    @property
    def n_items(self) -> int:
        """Items in the catalog."""
        return self.interactions.n_items

    def __len__(self) -> int:
        """Interactions."""
        return len(self.interactions)

    def to_frame(self) -> pd.DataFrame:
        """The interactions as they are used: user_id, item_id, and value and time (milliseconds) where there are."""
        data = self.interactions
        columns = {"user_id": data.user_ids[data.user], "item_id": data.item_ids[data.item]}
        extra = {"value": data.value, "time": data.time}
        return pd.DataFrame(columns | {name: column for name, column in extra.items() if column is not None})

    def summary(self) -> pd.Series:
        """Sizes, density, first and last time, and what was repaired or dropped in reading."""
        return pd.Series({**summary(self.interactions), **self.interactions.notes}, name=self.interactions.name)

    def __repr__(self) -> str:
        return (
            f"Dataset({self.interactions.name}: {self.n_users:,} users, {self.n_items:,} items, "
            f"{len(self):,} interactions{'' if self.interactions.time is None else ', with times'})"
        )


def split(data: Dataset | Any, name: str = "holdout", **options: Any) -> Split:
    """Splits data into train, validation and test.

    Args:
        data: a `Dataset`, or a frame with the columns user_id and item_id.
        name: a split of conf/split: holdout, leave_one_out, global_time, new_users, sessions, given.
        options: its settings, such as `test_fraction=0.2` or `test_from="2015-06-01"`.

    Returns:
        The split; `split.selection` is what fitting and choosing see, `split.test` is read once.

    Raises:
        InputError: an unknown split or option, or data that it cannot split.

    Example:
        >>> split = jaxrec.split(data, "global_time", validation_from=0.8, test_from=0.9)
    """
    data = data if isinstance(data, Dataset) else Dataset(data)
    config = compose([f"split={name}", *(override(f"split.{key}", value) for key, value in options.items())])["split"]
    settings.check({"split": config})
    made: Split = settings.build(config, interactions=data.interactions)
    return replace(made, config={"data": data.config, "split": config})
