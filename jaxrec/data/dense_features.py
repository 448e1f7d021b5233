"""Dense vector features: lists of decimal numbers of one length, e.g. embeddings of texts or images."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api import types

from jaxrec.errors import InputError


@dataclass(frozen=True, eq=False)
class DenseScale:
    """Center and scale of a column of vectors; one scale for all entries keeps angles and distances.

    Attributes:
        mean: mean of each entry over the non-missing vectors.
        deviation: root-mean-square distance of an entry from its mean.
        flagged: whether a 0/1 column marks missing vectors.
    """

    column: str
    mean: tuple[float, ...]
    deviation: float
    flagged: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the numbers that a vector becomes."""
        entries = (f"{self.column}[{place}]" for place in range(len(self.mean)))
        return (*entries, *([f"{self.column} is missing"] if self.flagged else []))

    def encode(self, column: pd.Series) -> np.ndarray:
        """Return standardized vectors, float64 [n, numbers]; 0 where missing.

        Raises:
            InputError: a vector has another length than those fitted on.
        """
        vectors = matrix(self.column, column, len(self.mean))
        missing = np.isnan(vectors).all(axis=1)
        numbers = np.nan_to_num((vectors - self.mean) / self.deviation)
        return np.concatenate([numbers, missing[:, None]], axis=1) if self.flagged else numbers


def is_dense(column: pd.Series) -> bool:
    """Return whether a column of lists has vectors: arrays of floats, or lists with a decimal number."""
    first = column[column.notna()].iloc[0]
    if isinstance(first, np.ndarray) and first.dtype.kind == "f":
        return True
    entries = column.reset_index(drop=True).explode().dropna().infer_objects()
    return bool(types.is_float_dtype(entries) and (entries != np.rint(entries.astype(np.float64))).any())


def fitted(name: str, column: pd.Series) -> DenseScale:
    """Return the scale of a column with at least one vector; its deviation is 0 if all are the same."""
    vectors = matrix(name, column)
    known = vectors[~np.isnan(vectors).all(axis=1)]
    mean = known.mean(axis=0)
    deviation = float(np.sqrt(np.mean((known - mean) ** 2)))
    return DenseScale(name, tuple(mean.tolist()), deviation, flagged=len(known) < len(vectors))


def matrix(name: str, column: pd.Series, length: int | None = None) -> np.ndarray:
    """Return a column of vectors as float64 [n, L], NaN where missing.

    Args:
        name: name of the column, for messages.
        column: one list per row; None or NaN where missing.
        length: expected length; None: that of the first vector.

    Raises:
        InputError: a vector has another length, or an entry that is not a finite number.
    """
    rows = np.flatnonzero(column.notna().to_numpy())
    vectors = [column.iloc[row] for row in rows]
    length = length if length is not None or not vectors else len(vectors[0])
    filled = np.full((len(column), length or 0), np.nan)
    for row, vector in zip(rows, vectors, strict=True):
        if len(vector) != length:
            raise InputError(
                f"the feature {name!r} has {len(vector)} numbers in row {row + 1} and {length} in others: a dense "
                "vector needs the same length in all rows"
            )
        try:
            filled[row] = np.asarray(vector, np.float64)
        except (TypeError, ValueError):
            filled[row] = np.nan
        if not np.isfinite(filled[row]).all():
            raise InputError(
                f"the feature {name!r} has an entry in row {row + 1} that is not a finite number: fix it, or leave the "
                "whole vector empty"
            )
    return filled
