"""Interactions to a split: what selects (train, validation) apart from what is read once, for the winner (test).

Only rows of `Interactions.target` are held out. The others, such as views where purchases are wanted, are history: what
lies in the time of a held-out part is known only to the parts after it, and the rest is dropped.
"""

from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import Field, NonNegativeInt, PositiveInt

from jaxrec.arguments import checked_by, reads
from jaxrec.data.features import Encoded
from jaxrec.data.interactions import Interactions, summary, targets
from jaxrec.data.reading.times import milliseconds
from jaxrec.errors import InputError

Fraction = Annotated[float, Field(ge=0, lt=1)]

TRAIN, VALIDATION, TEST = 0, 1, 2
KNOWN = 2  # VALIDATION + KNOWN: known when validation is asked for, and never trained on; TEST + KNOWN likewise


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Held-out interactions, and all that is known when they are asked for; what of it is a target is masked.

    order: int64, places in the data of the rows of `known`, then of those of `target`, where a split asks at every
           step: for each target with what its user did before it, earlier targets among it, and nothing is masked.
           None: all targets of a user are asked for at once, with all that is known
    """

    known: Interactions
    target: Interactions
    order: np.ndarray | None = None

    def joined(self) -> Interactions:
        """What is known and what is sought, in the order of the data where that counts."""
        joined = self.known.joined(self.target)
        return joined if self.order is None else joined.take(np.argsort(self.order))

    def context(self) -> Interactions:
        """The rows that histories are cut from."""
        return self.known if self.order is None else self.joined()


@dataclass(frozen=True, eq=False)
class Selection:
    """All that fitting, early stopping, pruning and choosing may see; `validation` is None if none was held out.

    new_users: whether every user who is asked about is new, that is, in no row that is trained on
    """

    train: Interactions
    validation: HeldOut | None
    new_users: bool = False

    def joined(self) -> Interactions:
        """Train and validation as one, to train on once everything is chosen."""
        return self.train if self.validation is None else self.validation.joined()


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """What selects and, apart from it, what is reported. All three parts share one user and one item table.

    notes:  counts and shares worth reporting, see `assembled`
    config: the settings of the groups `data` and `split` that made it, where they are known
    random: whether test rows, or their users, were drawn at random, whatever their times
    """

    selection: Selection
    test: HeldOut
    notes: dict[str, int | float]
    random: bool = False
    config: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        train, validation = self.selection.train, self.selection.validation
        sizes = {"train": len(train), "validation": len(validation.target) if validation else 0}
        counts = ", ".join(f"{n:,} {part}" for part, n in (sizes | {"test": len(self.test.target)}).items())
        return f"Split({train.name}: {train.n_users:,} users, {train.n_items:,} items; {counts})"


def check_fractions(validation_fraction: float, test_fraction: float) -> None:
    """Raises an InputError where they leave nothing to train on."""
    if validation_fraction + test_fraction >= 1:
        raise InputError(
            f"split.validation_fraction={validation_fraction} and split.test_fraction={test_fraction} leave nothing to "
            "train on: their sum must be below 1"
        )


def check_cuts(test_from: str | int | float, validation_from: str | int | float | None = None) -> None:
    """Raises an InputError for cuts that are no dates, or that are in the wrong order whatever the data."""
    test_cut = _moment(test_from, "split.test_from")
    if validation_from is None:
        return
    validation_cut = _moment(validation_from, "split.validation_from")
    if _is_share(test_from) == _is_share(validation_from) and validation_cut >= test_cut:
        raise InputError(
            f"split.validation_from={validation_from} does not lie before split.test_from={test_from}: "
            "validation comes between train and test"
        )


@checked_by(check_fractions)
def holdout(
    interactions: Interactions,
    *,
    validation_fraction: Fraction = 0.1,
    test_fraction: Fraction = 0.1,
    seed: NonNegativeInt = 0,
) -> Split:
    """Splits each user's interactions at random.

    A user with n interactions gives round(n * fraction) of them to each part, halves rounded up: at 0.1 and 0.1 five
    are enough for one of each. A user who would keep none for training keeps all.
    """
    check_fractions(validation_fraction, test_fraction)
    unsplit(interactions)
    part = _carved(interactions, validation_fraction, test_fraction, seed)
    return replace(assembled(interactions, part, validated=validation_fraction > 0), random=True)


def leave_one_out(interactions: Interactions, *, min_history: PositiveInt = 1) -> Split:
    """Each user's last interaction tests, the second last validates, ties in time keep file order.

    Users who would keep fewer than `min_history` interactions keep all for training.
    """
    unsplit(interactions)
    wanted = targets(interactions)
    # Backwards: the last one has rank 0.
    rank, count = ranks(wanted, wanted.time)
    back = count[wanted.user] - 1 - rank
    part = np.select([back == 0, back == 1], [TEST, VALIDATION], TRAIN)
    part[count[wanted.user] < min_history + 2] = TRAIN
    return assembled(interactions, with_history(interactions, part.astype(np.int8)), validated=True)


@reads("time")
@checked_by(check_cuts)
def global_time(
    interactions: Interactions, *, test_from: str | int | float, validation_from: str | int | float | None = None
) -> Split:
    """Everything from `test_from` on tests, everything from `validation_from` until then validates: as in deployment.

    Each is an ISO date (2015-06-01, read as UTC), a number as in a time column (seconds, milliseconds, ... since 1970),
    or a fraction between 0 and 1: 0.9 cuts at the time at which 90 % of all interactions have been seen, and rows of
    exactly that time fall behind the cut. Without `validation_from` there is no validation part.
    """
    check_cuts(test_from, validation_from)
    unsplit(interactions)
    time = interactions.time
    if time is None:
        raise InputError("split=global_time needs times: name their column in data.time_column, or use another split")
    if not len(time):
        raise InputError(f"nothing is left to split: {_remedy(interactions)}")
    test_cut = _cut(time, test_from, "split.test_from")
    part = np.where(time >= test_cut, TEST, TRAIN).astype(np.int8)
    if validation_from is not None:
        validation_cut = _cut(time, validation_from, "split.validation_from")
        if validation_cut >= test_cut:
            raise InputError(
                f"split.validation_from={validation_from} and split.test_from={test_from} leave nothing to validate, "
                f"no row lies between them: {_remedy(interactions)}"
            )
        part[(time >= validation_cut) & (time < test_cut)] = VALIDATION
    return assembled(interactions, part, validated=validation_from is not None)


def given(interactions: Interactions, *, validation_fraction: Fraction = 0.0, seed: NonNegativeInt = 0) -> Split:
    """Takes the split that the data comes with (`part`).

    Where it has no validation part, `validation_fraction` of each user's train is carved out as `holdout` does; 0
    carves none.
    """
    part = interactions.part
    if part is None:
        raise InputError("split=given needs data that comes split: give data.train=FILE and data.test=FILE")
    if validation_fraction and not (part == VALIDATION).any():
        train = np.flatnonzero(part == TRAIN)
        part = part.copy()
        part[train] = _carved(interactions.take(train), validation_fraction, 0.0, seed)
    return assembled(interactions, part, validated=validation_fraction > 0 or bool((part == VALIDATION).any()))


def with_history(interactions: Interactions, part: np.ndarray) -> np.ndarray:
    """Part [N] of each row from the part of each target row: history belongs where it lies in its user's order."""
    if interactions.target is None:
        return part
    moment = np.arange(len(interactions)) if interactions.time is None else interactions.time
    whole = np.full(len(interactions), TRAIN, np.int8)
    whole[interactions.target] = part
    history = ~interactions.target
    for p in (VALIDATION, TEST):
        start = np.full(interactions.n_users, np.iinfo(np.int64).max)
        rows = interactions.target & (whole == p)
        np.minimum.at(start, interactions.user[rows], moment[rows])
        whole[history & (moment >= start[interactions.user])] = p
    return whole


def rounded(count: Any, share: float) -> Any:
    """A share of a count, halves rounded up."""
    # The small addend takes 50 * 0.29 = 14.499999999999998 for the half it is.
    return np.floor(count * share + 0.5 + 1e-9).astype(np.int64)


def unsplit(interactions: Interactions) -> None:
    """Raises an InputError for data that comes split."""
    if interactions.part is not None:
        raise InputError(
            "the data comes split already: say split=given, or give one file as data.path to split it anew"
        )


def ranks(interactions: Interactions, key: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Each row's place [N] among its user's rows ordered by `key`, ties in row order, and each user's rows [U]."""
    user = interactions.user
    order = np.argsort(user, kind="stable") if key is None else np.lexsort((key, user))
    count = np.bincount(user, minlength=interactions.n_users)
    rank = np.empty(len(user), np.int64)
    rank[order] = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
    return rank, count


def _carved(interactions: Interactions, validation: float, test: float, seed: int) -> np.ndarray:
    """Part [N] of each row: a random share of every user's target rows; history stays in train."""
    if interactions.target is not None:
        whole = np.full(len(interactions), TRAIN, np.int8)
        whole[interactions.target] = _carved(replace(targets(interactions), target=None), validation, test, seed)
        return whole
    rank, count = ranks(interactions, np.random.default_rng(seed).random(len(interactions)))
    n_test, n_validation = rounded(count, test), rounded(count, validation)
    small = n_test + n_validation >= count
    n_test[small], n_validation[small] = 0, 0
    tested, held = n_test[interactions.user], (n_test + n_validation)[interactions.user]
    return np.select([rank < tested, rank < held], [TEST, VALIDATION], TRAIN).astype(np.int8)


def _cut(time: np.ndarray, given: str | int | float, key: str) -> int:
    """The first millisecond behind a cut."""
    if _is_share(given):
        return int(np.partition(time, row := int(len(time) * float(given)))[row])
    return int(_moment(given, key))


def _is_share(given: str | int | float) -> bool:
    return not isinstance(given, str) and 0 < given < 1


def _moment(given: str | int | float, key: str) -> float:
    """Milliseconds since 1970 of a date or a time; a share as it is."""
    if _is_share(given):
        return float(given)
    return int(milliseconds(pa.chunked_array([[given]]), lambda _: f"{key}={given}")[0])


def assembled(interactions: Interactions, part: np.ndarray, *, validated: bool, every_step: bool = False) -> Split:
    """The split by part [N], without held-out rows that cannot be found, and its notes.

    A pair of user and item is looked for once, and only where it is not known by then, as known positives are never
    recommended: validation rows whose pair is in train go, test rows whose pair is in train or validation go, and so
    do repeats within a part. With `every_step` (see `HeldOut.order`) repeats are sought like everything else.

    users, users_with_test, users_with_validation
    test_items_not_in_train, test_users_not_in_train: cold ones, which only content or popularity can serve
    test_already_known, validation_already_known:     rows that went for this reason
    test_before_last_train: share of test rows older than the newest train row; 0 means nobody trains on the future
    history_after_test_dropped: rows that are history only and lie after what is tested
    """
    pair = interactions.user.astype(np.int64) * interactions.n_items + interactions.item
    wanted = np.ones(len(interactions), bool) if interactions.target is None else interactions.target
    train = np.flatnonzero(part == TRAIN)
    held = {p: np.flatnonzero((part == p) & wanted) for p in (VALIDATION, TEST)}
    kept: dict[int, np.ndarray] = {}
    known = np.flatnonzero(((part == TRAIN) | (part > TEST)) & wanted)
    for p, rows in held.items():
        if every_step:
            kept[p] = rows
            continue
        repeated = pd.Series(pair[np.concatenate([known, rows])]).duplicated().to_numpy()
        kept[p] = rows[~repeated[len(known) :]]
        known = np.concatenate([known, kept[p]])
    for p, name in ((TEST, "test"), (VALIDATION, "validation")):
        if not len(kept[p]) and (validated or p == TEST):
            raise InputError(f"no user has a {name} item that train does not hold already: {_remedy(interactions)}")
    if not len(train):
        raise InputError(f"nothing is left to train on: {_remedy(interactions)}")

    interactions = featured(interactions, train)
    seen = np.unique(interactions.user[train]), np.unique(interactions.item[train])
    encoded = Encoded(interactions.user_features, interactions.item_features, *seen)
    interactions = replace(interactions, encoded=encoded)

    def taken(rows: np.ndarray) -> Interactions:
        return replace(interactions.take(rows), part=None)

    trained = taken(train)

    def asked(known: np.ndarray, ground_truth: np.ndarray) -> HeldOut:
        known = np.sort(known)  # in the order of the data
        order = np.concatenate([known, ground_truth]) if every_step else None
        return HeldOut(trained if len(known) == len(train) else taken(known), taken(ground_truth), order)

    before_validation = np.concatenate([train, np.flatnonzero(part == VALIDATION + KNOWN)])
    # History of the time of validation is known by then too.
    meanwhile = np.flatnonzero(((part == VALIDATION) & ~wanted) | (part == TEST + KNOWN))
    before_test = np.concatenate([before_validation, kept[VALIDATION], meanwhile])
    test = asked(before_test, kept[TEST])
    notes: dict[str, int | float] = {
        "users": interactions.n_users,
        "users_with_test": len(pd.unique(test.target.user)),
        "users_with_validation": len(pd.unique(interactions.user[kept[VALIDATION]])),
        "test_items_not_in_train": _cold(test.target.item, interactions.item[train], interactions.n_items),
        "test_users_not_in_train": _cold(test.target.user, interactions.user[train], interactions.n_users),
        "test_already_known": len(held[TEST]) - len(kept[TEST]),
        "validation_already_known": len(held[VALIDATION]) - len(kept[VALIDATION]),
    }
    if interactions.time is not None:
        newest = interactions.time[train].max()
        notes["test_before_last_train"] = float((interactions.time[kept[TEST]] < newest).mean())
    if interactions.target is not None:
        notes["history_after_test_dropped"] = int(np.count_nonzero((part == TEST) & ~wanted))
    validation = asked(before_validation, kept[VALIDATION]) if len(kept[VALIDATION]) else None
    new_users = notes["test_users_not_in_train"] == notes["users_with_test"]
    return Split(Selection(trained, validation, new_users), test, notes)


def featured(interactions: Interactions, train: np.ndarray) -> Interactions:
    """With what was known of items at the time of the newest train row among the item features, and nothing later."""
    if interactions.properties is None:
        return interactions
    assert interactions.time is not None
    known = interactions.properties.as_of(int(interactions.time[train].max()))
    return replace(interactions, item_features=pd.concat([interactions.item_features, known], axis=1))


def _cold(tested: np.ndarray, trained: np.ndarray, size: int) -> int:
    """How many of `size` ids occur in test but not in train."""
    return int(np.count_nonzero(np.bincount(tested, minlength=size)[np.bincount(trained, minlength=size) == 0]))


def _remedy(interactions: Interactions) -> str:
    size = summary(interactions)
    span = f" from {size['first']} to {size['last']}" if "first" in size else ""
    return (
        f"the data has {size['interactions']:,} interactions of {size['users']:,} users{span}; check the split's keys "
        "(fractions, cut dates, min_history) or use another split"
    )
