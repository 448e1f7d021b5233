"""Splits of interactions into train and validation, used for model selection, and test, used once for the final model.

Only target rows (`Interactions.target`) are held out. The others, such as views when purchases are the target, are
history: those from the time of a held-out part are known only to later parts, and the rest is dropped.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from jaxrec.data.features import Encoded
from jaxrec.data.interactions import Interactions, summary
from jaxrec.errors import InputError

TRAIN, VALIDATION, TEST = 0, 1, 2
KNOWN = 2  # VALIDATION + KNOWN: known at validation time but never trained on; TEST + KNOWN likewise


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Held-out interactions and the interactions known at prediction time, whose targets are filtered from rankings.

    Attributes:
        known: interactions known at prediction time.
        target: held-out interactions to predict.
        order: int64, row numbers in the data of the rows of `known`, then of those of `target`, for splits with
            next-item prediction at every step: each target is predicted from all earlier rows of its user, including
            earlier targets, and nothing is filtered. None: all targets of a user are predicted at once from `known`.
    """

    known: Interactions
    target: Interactions
    order: np.ndarray | None = None

    def joined(self) -> Interactions:
        """Return known and held-out rows, in data order if the split predicts at every step."""
        joined = self.known.joined(self.target)
        return joined if self.order is None else joined.take(np.argsort(self.order))

    def context(self) -> Interactions:
        """Return the rows from which histories are taken."""
        return self.known if self.order is None else self.joined()


@dataclass(frozen=True, eq=False)
class Selection:
    """The data available to training, early stopping, pruning and model selection.

    Attributes:
        train: training interactions.
        validation: validation part, or None.
        new_users: whether all evaluated users are new, i.e. have no interaction in train.
    """

    train: Interactions
    validation: HeldOut | None
    new_users: bool = False

    def joined(self) -> Interactions:
        """Return train and validation combined, for refitting after model selection."""
        return self.train if self.validation is None else self.validation.joined()


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """A train, validation and test split; all parts share the same user and item tables.

    Attributes:
        selection: train and validation.
        test: test part.
        notes: counts and shares to report, see `assembled`.
        random: whether test rows or users were drawn at random, regardless of time.
        config: settings of the config groups `data` and `split`, if known.
    """

    selection: Selection
    test: HeldOut
    notes: dict[str, int | float]
    random: bool = False
    config: dict[str, object] = field(default_factory=dict)

    def __repr__(self) -> str:
        train, validation = self.selection.train, self.selection.validation
        sizes = {"train": len(train), "validation": len(validation.target) if validation else 0}
        counts = ", ".join(f"{n:,} {part}" for part, n in (sizes | {"test": len(self.test.target)}).items())
        return f"Split({train.name}: {train.n_users:,} users, {train.n_items:,} items; {counts})"


def with_history(interactions: Interactions, part: np.ndarray) -> np.ndarray:
    """Extend the parts of target rows to all rows [N]: history rows get the part of their time in the user's order."""
    if interactions.target is None:
        return part
    moment = np.arange(len(interactions)) if interactions.time is None else interactions.time
    parts = np.full(len(interactions), TRAIN, np.int8)
    parts[interactions.target] = part
    history = ~interactions.target
    for p in (VALIDATION, TEST):
        start = np.full(interactions.n_users, np.iinfo(np.int64).max)
        rows = interactions.target & (parts == p)
        np.minimum.at(start, interactions.user[rows], moment[rows])
        parts[history & (moment >= start[interactions.user])] = p
    return parts


def unsplit(interactions: Interactions) -> None:
    """Raise InputError if the data is already split."""
    if interactions.part is not None:
        raise InputError("the data is already split: set split=given, or set data.path to one file to split it again")


def ranks(interactions: Interactions, key: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the rank [N] of each row among its user's rows, and row counts by user [U].

    Rows are ranked by `key`, or else by time; ties in row order.
    """
    user = interactions.user
    order = interactions.user_order[1] if key is None else np.lexsort((key, user))
    count = np.bincount(user, minlength=interactions.n_users)
    rank = np.empty(len(user), np.int64)
    rank[order] = np.arange(len(user)) - np.repeat(np.cumsum(count) - count, count)
    return rank, count


def assembled(interactions: Interactions, part: np.ndarray, *, validated: bool, every_step: bool = False) -> Split:
    """Build a split from the part of each row, drop held-out rows that cannot be predicted, and compute notes.

    Known positives are never recommended, so held-out pairs of user and item must be new: validation rows whose pair
    is in train, test rows whose pair is in train or validation, and repeats within a part are dropped. With
    `every_step` they are kept.

    Notes:
        users, users_with_test, users_with_validation: numbers of users.
        test_items_not_in_train, test_users_not_in_train: numbers of cold items and users in test.
        test_already_known, validation_already_known: rows dropped because their pair is known.
        test_before_last_train: share of test rows older than the latest train row; 0 means no leak from the future.
        history_after_test_dropped: history-only rows after the test rows.

    Args:
        interactions: all rows.
        part: part of each row, [N]: TRAIN, VALIDATION, TEST, or one of the last two + KNOWN.
        validated: whether a validation part is required.
        every_step: whether each held-out row is predicted from the rows before it, see `HeldOut.order`.

    Raises:
        InputError: train, test or a required validation part is empty.
    """
    pair = interactions.user.astype(np.int64) * interactions.n_items + interactions.item
    is_target = np.ones(len(interactions), bool) if interactions.target is None else interactions.target
    train = np.flatnonzero(part == TRAIN)
    held_out = {p: np.flatnonzero((part == p) & is_target) for p in (VALIDATION, TEST)}
    kept: dict[int, np.ndarray] = {}
    known = np.flatnonzero(((part == TRAIN) | (part > TEST)) & is_target)
    for p, rows in held_out.items():
        if every_step:
            kept[p] = rows
            continue
        repeated = pd.Series(pair[np.concatenate([known, rows])]).duplicated().to_numpy()
        kept[p] = rows[~repeated[len(known) :]]
        known = np.concatenate([known, kept[p]])
    for p, name in ((TEST, "test"), (VALIDATION, "validation")):
        if not len(kept[p]) and (validated or p == TEST):
            raise InputError(f"no user has a {name} item that is not already in train: {remedy(interactions)}")
    if not len(train):
        raise InputError(f"there is no training data left: {remedy(interactions)}")

    interactions = with_item_properties(interactions, train)
    seen = np.unique(interactions.user[train]), np.unique(interactions.item[train])
    encoded = Encoded(interactions.user_features, interactions.item_features, *seen)
    interactions = interactions.annotated(encoded=encoded, part=None)
    _ = interactions.user_order  # all parts inherit it
    train_rows = interactions.take(train)

    def held_out_part(known: np.ndarray, ground_truth: np.ndarray) -> HeldOut:
        known = np.sort(known)  # in data order
        order = np.concatenate([known, ground_truth]) if every_step else None
        known_rows = train_rows if len(known) == len(train) else interactions.take(known)
        return HeldOut(known_rows, interactions.take(ground_truth), order)

    before_validation = np.concatenate([train, np.flatnonzero(part == VALIDATION + KNOWN)])
    # At test time, history from the validation period is known, too.
    since_validation = np.flatnonzero(((part == VALIDATION) & ~is_target) | (part == TEST + KNOWN))
    before_test = np.concatenate([before_validation, kept[VALIDATION], since_validation])
    test = held_out_part(before_test, kept[TEST])
    notes: dict[str, int | float] = {
        "users": interactions.n_users,
        "users_with_test": len(pd.unique(test.target.user)),
        "users_with_validation": len(pd.unique(interactions.user[kept[VALIDATION]])),
        "test_items_not_in_train": _cold(test.target.item, interactions.item[train], interactions.n_items),
        "test_users_not_in_train": _cold(test.target.user, interactions.user[train], interactions.n_users),
        "test_already_known": len(held_out[TEST]) - len(kept[TEST]),
        "validation_already_known": len(held_out[VALIDATION]) - len(kept[VALIDATION]),
    }
    if interactions.time is not None:
        latest = interactions.time[train].max()
        notes["test_before_last_train"] = float((interactions.time[kept[TEST]] < latest).mean())
    if interactions.target is not None:
        notes["history_after_test_dropped"] = int(np.count_nonzero((part == TEST) & ~is_target))
    validation = held_out_part(before_validation, kept[VALIDATION]) if len(kept[VALIDATION]) else None
    new_users = notes["test_users_not_in_train"] == notes["users_with_test"]
    return Split(Selection(train_rows, validation, new_users), test, notes)


def with_item_properties(interactions: Interactions, train: np.ndarray) -> Interactions:
    """Add the item properties as of the latest train row to the item features."""
    if interactions.properties is None:
        return interactions
    assert interactions.time is not None
    known = interactions.properties.as_of(int(interactions.time[train].max()))
    return interactions.annotated(item_features=pd.concat([interactions.item_features, known], axis=1))


def _cold(test: np.ndarray, train: np.ndarray, size: int) -> int:
    """Return the number of ids below `size` that occur in test but not in train."""
    return int(np.count_nonzero(np.bincount(test, minlength=size)[np.bincount(train, minlength=size) == 0]))


def remedy(interactions: Interactions) -> str:
    """Return the sizes of the data and the settings to change, for messages about empty parts."""
    size = summary(interactions)
    span = f" from {size['first']} to {size['last']}" if "first" in size else ""
    return (
        f"the data has {size['interactions']:,} interactions of {size['users']:,} users{span}; check the split "
        "settings (fractions, cut dates, min_history) or use another split"
    )
