"""Splits by fraction, by last interaction, by time, and as given: each assigns every row to a part."""

from dataclasses import replace
from typing import Annotated

import numpy as np
import pyarrow as pa
from pydantic import Field, NonNegativeInt, PositiveInt

from jaxrec.arguments import checked_by, reads
from jaxrec.data.interactions import Interactions, targets
from jaxrec.data.large_columns import gathered
from jaxrec.data.reading.times import WITHOUT, milliseconds
from jaxrec.data.splits.assembly import (
    TEST,
    TRAIN,
    VALIDATION,
    Split,
    assembled,
    check_unsplit,
    ranks,
    remedy,
    with_history,
)
from jaxrec.data.splits.assembly import HeldOut as HeldOut
from jaxrec.data.splits.assembly import Selection as Selection
from jaxrec.errors import InputError

Fraction = Annotated[float, Field(ge=0, lt=1)]


def check_fractions(validation_fraction: float, test_fraction: float) -> None:
    """Raise InputError if the fractions leave no training or no test data."""
    if test_fraction == 0:
        raise InputError("split.test_fraction=0 leaves no test data: it must be above 0")
    if validation_fraction + test_fraction >= 1:
        raise InputError(
            f"split.validation_fraction={validation_fraction} and split.test_fraction={test_fraction} leave no "
            "training data: their sum must be below 1"
        )


def check_cuts(test_from: str | int | float, validation_from: str | int | float | None = None) -> None:
    """Raise InputError for cuts that are not dates, or in the wrong order independent of the data."""
    test_cut = _moment(test_from, "split.test_from")
    if validation_from is None:
        return
    validation_cut = _moment(validation_from, "split.validation_from")
    if _is_share(test_from) == _is_share(validation_from) and validation_cut >= test_cut:
        raise InputError(
            f"split.validation_from={validation_from} must be before split.test_from={test_from}: "
            "validation lies between train and test"
        )


def check_folds(fold: int, folds: int, validation_fraction: float, test_fraction: float) -> None:
    """Raise InputError for a fold that does not exist, or folds that leave no training data."""
    if fold >= folds:
        raise InputError(f"split.fold={fold} must be below split.folds={folds}: folds are counted from 0")
    if validation_fraction + folds * test_fraction >= 1:
        raise InputError(
            f"split.folds={folds} test periods of split.test_fraction={test_fraction} after "
            f"split.validation_fraction={validation_fraction} leave no training data: folds * test_fraction + "
            "validation_fraction must be below 1"
        )


@checked_by(check_fractions)
def holdout(
    interactions: Interactions,
    *,
    validation_fraction: Fraction = 0.1,
    test_fraction: Fraction = 0.1,
    seed: NonNegativeInt = 0,
) -> Split:
    """Split each user's interactions at random.

    Of a user's n interactions, round(n * fraction) go to each held-out part, halves rounded up: with 0.1 and 0.1, five
    interactions suffice for one in each. Users who would have none left for training keep all in train.

    Args:
        interactions: data that is not split yet.
        validation_fraction, test_fraction: shares of each user's interactions.
        seed: seed of the draw.
    """
    check_fractions(validation_fraction, test_fraction)
    check_unsplit(interactions)
    part = _random_parts(interactions, validation_fraction, test_fraction, seed)
    return replace(assembled(interactions, part, validated=validation_fraction > 0), random=True)


def leave_one_out(interactions: Interactions, *, min_history: PositiveInt = 1) -> Split:
    """Hold out each user's last interaction for test and the second last for validation.

    Args:
        interactions: data that is not split yet; ties in time keep file order.
        min_history: users with fewer interactions left for training keep all in train.
    """
    check_unsplit(interactions)
    _ = interactions.user_order  # inherited by the target rows
    target_rows = targets(interactions)
    offsets, rows = target_rows.user_order
    ends = offsets[1:][np.diff(offsets) >= min_history + 2]
    part = np.full(len(target_rows), TRAIN, np.int8)
    part[rows[ends - 1]], part[rows[ends - 2]] = TEST, VALIDATION
    return assembled(interactions, with_history(interactions, part), validated=True)


@reads("time")
@checked_by(check_cuts)
def global_time(
    interactions: Interactions, *, test_from: str | int | float, validation_from: str | int | float | None = None
) -> Split:
    """Split by time, as in deployment: train on the past, test on the future.

    A cut is an ISO date (2015-06-01, read as UTC), a number as in a time column (seconds, milliseconds, ... since
    1970), or a fraction: 0.9 cuts after 90% of all interactions. Interactions at the time of a cut are after it.

    Args:
        interactions: data with times that is not split yet.
        test_from: start of the test period.
        validation_from: start of the validation period; None: no validation.
    """
    check_cuts(test_from, validation_from)
    time = _times(interactions, "global_time")
    test_cut = _cut(time, test_from, "split.test_from")
    part = np.where(time >= test_cut, np.int8(TEST), np.int8(TRAIN))
    if validation_from is not None:
        validation_cut = _cut(time, validation_from, "split.validation_from")
        if validation_cut >= test_cut:
            raise InputError(
                f"no interaction lies between split.validation_from={validation_from} and "
                f"split.test_from={test_from}: {remedy(interactions)}"
            )
        part[(time >= validation_cut) & (time < test_cut)] = VALIDATION
    return assembled(interactions, part, validated=validation_from is not None)


@reads("time")
@checked_by(check_folds)
def rolling(
    interactions: Interactions,
    *,
    fold: NonNegativeInt = 0,
    folds: PositiveInt = 4,
    validation_fraction: Fraction = 0.1,
    test_fraction: Fraction = 0.1,
) -> Split:
    """Split by time at the start of one of several consecutive test periods.

    The last `folds` test periods of the data are equally long in interactions. Fold 0 tests on the first of them, is
    validated on the interactions just before it, and trained on all earlier ones; each further fold moves all cuts one
    test period on. Later interactions are dropped. Interactions at the time of a cut are after it.

    Args:
        interactions: data with times that is not split yet.
        fold: the fold, from 0.
        folds: number of test periods.
        validation_fraction, test_fraction: length of the validation period and of each test period, as shares of all
            interactions.
    """
    check_folds(fold, folds, validation_fraction, test_fraction)
    time = _times(interactions, "rolling")
    start = 1 - (folds - fold) * test_fraction
    cuts = [_cut(time, round(share, 9), "split.fold") for share in (start - validation_fraction, start)]
    part = np.select([time >= cuts[1], time >= cuts[0]], [TEST, VALIDATION], TRAIN).astype(np.int8)
    if fold + 1 < folds:
        kept = time < _cut(time, round(start + test_fraction, 9), "split.fold")
        if not kept.any():
            raise InputError(f"no interaction lies before the end of split.fold={fold}: {remedy(interactions)}")
        dropped = int((~kept).sum())
        interactions, part = interactions.take(kept), part[kept]
    else:
        dropped = 0
    split = assembled(interactions, part, validated=validation_fraction > 0)
    return replace(split, notes={**split.notes, "after_test_dropped": dropped})


def given(interactions: Interactions, *, validation_fraction: Fraction = 0.0, seed: NonNegativeInt = 0) -> Split:
    """Use the split of the data (`Interactions.part`).

    Args:
        interactions: data that is already split.
        validation_fraction: share of each user's train interactions to hold out at random if the data has no
            validation part; 0: none.
        seed: seed of the draw.
    """
    part = interactions.part
    if part is None:
        raise InputError("split=given needs data that is already split: set data.train=FILE and data.test=FILE")
    if validation_fraction and not (part == VALIDATION).any():
        train = np.flatnonzero(part == TRAIN)
        part = part.copy()
        part[train] = _random_parts(interactions.take(train), validation_fraction, 0.0, seed)
    return assembled(interactions, part, validated=validation_fraction > 0 or bool((part == VALIDATION).any()))


def rounded(count: int | np.ndarray, share: float) -> np.ndarray:
    """Return a share of counts, halves rounded up."""
    # The epsilon corrects rounding errors, as in 50 * 0.29 = 14.499999999999998.
    return np.floor(count * share + 0.5 + 1e-9).astype(np.int64)


def _random_parts(interactions: Interactions, validation: float, test: float, seed: int) -> np.ndarray:
    """Return the part [N] of each row: random shares of each user's target rows; history stays in train."""
    if interactions.target is not None:
        parts = np.full(len(interactions), TRAIN, np.int8)
        parts[interactions.target] = _random_parts(replace(targets(interactions), target=None), validation, test, seed)
        return parts
    rank, count = ranks(interactions, np.random.default_rng(seed).random(len(interactions)))
    n_test, n_validation = rounded(count, test), rounded(count, validation)
    small = n_test + n_validation >= count
    n_test[small], n_validation[small] = 0, 0
    is_test = rank < gathered(n_test.astype(np.int32), interactions.user)
    is_held_out = rank < gathered((n_test + n_validation).astype(np.int32), interactions.user)
    return np.select([is_test, is_held_out], np.array([TEST, VALIDATION], np.int8), np.int8(TRAIN))


def _times(interactions: Interactions, split: str) -> np.ndarray:
    """Return the times of data that can be split by them."""
    check_unsplit(interactions)
    if interactions.time is None:
        raise InputError(f"split={split} needs times: name their column in data.time_column, or use another split")
    if not len(interactions.time):
        raise InputError(f"there is no data to split: {remedy(interactions)}")
    return interactions.time


def _cut(time: np.ndarray, setting: str | int | float, key: str) -> int:
    """Return the first millisecond after a cut."""
    if _is_share(setting):
        return int(np.partition(time, row := int(len(time) * float(setting)))[row])
    return int(_moment(setting, key))


def _is_share(setting: str | int | float) -> bool:
    return not isinstance(setting, str) and 0 < setting < 1


def _moment(setting: str | int | float, key: str) -> float:
    """Return the milliseconds since 1970 of a date or time; a share is returned unchanged."""
    if _is_share(setting):
        return float(setting)
    try:
        return int(milliseconds(pa.chunked_array([[setting]]), lambda _: f"{key}={setting}")[0])
    except InputError as error:
        raise InputError(str(error).removesuffix(WITHOUT)) from None
