"""Datasets in Python: `Dataset` from a frame or a file, and `split`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from jaxrec import settings
from jaxrec.command_line import override
from jaxrec.config import compose
from jaxrec.data.data_warnings import reading_report
from jaxrec.data.interactions import Interactions, summary
from jaxrec.data.reading.tables import source
from jaxrec.data.splits.assembly import Split
from jaxrec.settings import Tree

_COLUMNS = {"user": "user_column", "item": "item_column", "value": "value_column", "time": "time_column"}
_SOURCES = ("path", "train", "validation", "test", "user_features", "item_features")  # files or in-memory tables


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Validated user-item interactions.

    Args:
        frame: one row per interaction: a pandas, polars or pyarrow table, or a file (CSV, TSV, Parquet).
        user: the column of user IDs.
        item: the column of item IDs.
        value: the column of ratings or quantities; None: implicit feedback, all rows have equal weight.
        time: the column of timestamps; None: the row order is the time order.
        options: any other setting of `conf/data/files.yaml`, e.g. `k_core=5` or `item_features=FRAME`.

    Raises:
        InputError: a missing column, unreadable IDs or times, or an unknown option.

    Example:
        >>> data = jaxrec.Dataset(frame, user="customer", item="sku", time="date")
        >>> data.n_users, data.n_items, len(data)

    Attributes:
        interactions: the interactions, with users and items as positions.
        config: the settings of the group `data`.
    """

    interactions: Interactions
    config: Tree

    def __init__(
        self,
        frame: object,
        *,
        user: str = "user_id",
        item: str = "item_id",
        value: str | None = None,
        time: str | None = None,
        **options: object,
    ) -> None:
        columns = {"path": frame, "user_column": user, "item_column": item, "value_column": value, "time_column": time}
        self._read("files", columns | options)

    @classmethod
    def read(cls, path: str | Path, **columns: Any) -> "Dataset":
        """Read a file (CSV, TSV or Parquet, also `.gz` and `.zst`); columns and options as for `Dataset`."""
        return cls(Path(path), **columns)

    @classmethod
    def given_split(cls, train: object, test: object, validation: object = None, **columns: object) -> "Dataset":
        """Read predefined parts, for `jaxrec.split(data, "given")`.

        Args:
            train: a table or file, as for `Dataset`.
            test: another.
            validation: another; None: a part of train, see `split`.
            columns: columns and options as for `Dataset`.
        """
        parts = {"path": None, "train": train, "validation": validation, "test": test}
        named = {_COLUMNS.get(name, name): option for name, option in columns.items()}
        return cls.named("files", **parts, **named)

    @classmethod
    def named(cls, name: str, **options: object) -> "Dataset":
        """Read a dataset of conf/data, e.g. `movielens_100k`; see `jaxrec.datasets`."""
        data = object.__new__(cls)
        data._read(name, options)
        return data

    def _read(self, name: str, options: Mapping[str, object]) -> None:
        names = {key: f"the data frame of data.{key}" for key in _SOURCES} | {"path": "the data frame"}
        tables = {key: source(options[key], names[key]) for key in _SOURCES if options.get(key) is not None}
        plain = {key: option for key, option in options.items() if key not in tables}
        paths = {key: str(table) for key, table in tables.items() if isinstance(table, Path)}
        overrides = [override(f"data.{key}", value) for key, value in (plain | paths).items()]
        config = compose([f"data={name}", *overrides])["data"]
        settings.check({"data": config})
        in_memory = {key: table for key, table in tables.items() if not isinstance(table, Path)}
        object.__setattr__(self, "interactions", settings.build(config, **in_memory))
        object.__setattr__(self, "config", config)

    @property
    def n_users(self) -> int:
        """Number of users, including users without interactions."""
        return self.interactions.n_users

    @property
    def n_items(self) -> int:
        """Number of items in the catalog."""
        return self.interactions.n_items

    def __len__(self) -> int:
        """Number of interactions."""
        return len(self.interactions)

    def to_frame(self) -> pd.DataFrame:
        """Return the interactions as a frame: user_id, item_id, and value and time (in milliseconds) if present."""
        data = self.interactions
        columns = {"user_id": data.user_ids[data.user], "item_id": data.item_ids[data.item]}
        extra = {"value": data.value, "time": data.time}
        return pd.DataFrame(columns | {name: column for name, column in extra.items() if column is not None})

    def summary(self) -> pd.Series:
        """Return sizes, density, first and last time, and counts of repaired or dropped rows."""
        return pd.Series({**summary(self.interactions), **self.interactions.notes}, name=self.interactions.name)

    def __repr__(self) -> str:
        with_times = "" if self.interactions.time is None else ", with times"
        sizes = f"{self.n_users:,} users, {self.n_items:,} items, {len(self):,} interactions{with_times}"
        return f"Dataset({'; '.join([f'{self.interactions.name}: {sizes}', *reading_report(self.interactions)])})"


def split(data: Dataset | object, name: str = "holdout", **options: object) -> Split:
    """Split data into train, validation and test.

    Args:
        data: a `Dataset`, or a frame with the columns user_id and item_id.
        name: a split of conf/split: holdout, leave_one_out, global_time, rolling, new_users, sessions,
            given.
        options: settings of the split, e.g. `test_fraction=0.2` or `test_from="2015-06-01"`.

    Returns:
        The split; `split.selection` is used for training and model selection, `split.test` only for the final test.

    Raises:
        InputError: an unknown split or option, or data that cannot be split this way.

    Example:
        >>> split = jaxrec.split(data, "global_time", validation_from=0.8, test_from=0.9)
    """
    data = data if isinstance(data, Dataset) else Dataset(data)
    config = compose([f"split={name}", *(override(f"split.{key}", value) for key, value in options.items())])["split"]
    settings.check({"split": config})
    parts: Split = settings.build(config, interactions=data.interactions)
    return replace(parts, config={"data": data.config, "split": config})
