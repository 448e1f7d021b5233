"""Splits of interactions into train and validation, used for model selection, and test, used once for the final model.

Only target rows (`Interactions.target`) are held out. The others, such as views when purchases are the target, are
history: those from the time of a held-out part are known only to later parts, and the rest is dropped.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from jaxrec.data.features import Encoded
from jaxrec.data.interactions import Interactions, summary
from jaxrec.data.large_columns import blocks, offsets_of
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

    def sampled(self, n_users: int | None) -> "HeldOut":
        """Return the part with the targets of `n_users` random users only; None, or if there are fewer: of all."""
        users = np.unique(self.target.user)
        if n_users is None or n_users >= len(users):
            return self
        chosen = np.zeros(self.target.n_users, bool)
        chosen[np.random.default_rng(0).choice(users, n_users, replace=False)] = True
        rows = chosen[self.target.user]
        order = self.order
        if order is not None:
            order = order[np.concatenate([np.ones(len(self.known), bool), rows])]
        return replace(self, target=self.target.take(rows), order=order)

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


def check_unsplit(interactions: Interactions) -> None:
    """Raise InputError if the data is already split."""
    if interactions.part is not None:
        raise InputError("the data is already split: set split=given, or set data.path to one file to split it again")


def ranks(interactions: Interactions, key: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the rank, int32 [N], of each row among its user's rows, and row counts by user [U].

    Rows are ranked by `key`, or else by time; ties in row order.
    """
    offsets, order = interactions.user_order
    rank = np.empty(len(interactions), np.int32)
    for block in blocks(offsets):
        rows = order[block]
        if key is not None:
            rows = np.sort(rows)
            rows = rows[np.lexsort((key[rows], interactions.user[rows]))]
        rank[rows] = np.arange(block.start, block.stop) - offsets[interactions.user[rows]]
    return rank, np.diff(offsets)


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
    is_target = np.ones(len(interactions), bool) if interactions.target is None else interactions.target
    train = part == TRAIN  # masks [N], like all parts below
    held_out = {p: (part == p) & is_target for p in (VALIDATION, TEST)}
    kept: dict[int, np.ndarray] = {}
    known = (train | (part > TEST)) & is_target
    for p, rows in held_out.items():
        kept[p] = rows if every_step else _new_pairs(interactions, known, rows)
        known = known | kept[p]
    for p in (TEST, VALIDATION) if validated else (TEST,):
        if not kept[p].any():
            raise _nothing_held_out(interactions, p, are_known=bool(held_out[p].any()))
    if not train.any():
        raise InputError(f"there is no training data left: {remedy(interactions)}")

    interactions = with_item_properties(interactions, train)
    _ = interactions.user_order  # all parts inherit it
    train_rows = interactions.take(train)
    seen = _occurring(train_rows.user, interactions.n_users), _occurring(train_rows.item, interactions.n_items)
    encoded = Encoded(interactions.user_features, interactions.item_features, *seen)
    interactions = interactions.annotated(encoded=encoded, part=None)
    train_rows = train_rows.annotated(encoded=encoded, part=None)

    def held_out_part(known: np.ndarray, ground_truth: np.ndarray) -> HeldOut:
        order = np.concatenate([np.flatnonzero(known), np.flatnonzero(ground_truth)]) if every_step else None
        known_rows = train_rows if np.count_nonzero(known) == len(train_rows) else interactions.take(known)
        return HeldOut(known_rows, interactions.take(ground_truth), order)

    before_validation = train | (part == VALIDATION + KNOWN)
    # At test time, history from the validation period is known, too.
    since_validation = ((part == VALIDATION) & ~is_target) | (part == TEST + KNOWN)
    before_test = before_validation | kept[VALIDATION] | since_validation
    test = held_out_part(before_test, kept[TEST])
    notes: dict[str, int | float] = {
        "users": interactions.n_users,
        "users_with_test": len(pd.unique(test.target.user)),
        "users_with_validation": len(pd.unique(interactions.user[kept[VALIDATION]])),
        "test_items_not_in_train": len(np.setdiff1d(test.target.item, seen[1])),
        "test_users_not_in_train": len(np.setdiff1d(test.target.user, seen[0])),
        "test_already_known": int(np.count_nonzero(held_out[TEST]) - np.count_nonzero(kept[TEST])),
        "validation_already_known": int(np.count_nonzero(held_out[VALIDATION]) - np.count_nonzero(kept[VALIDATION])),
    }
    if interactions.time is not None:
        assert train_rows.time is not None
        latest = train_rows.time.max()
        notes["test_before_last_train"] = float((interactions.time[kept[TEST]] < latest).mean())
    if interactions.target is not None:
        notes["history_after_test_dropped"] = int(np.count_nonzero((part == TEST) & ~is_target))
    validation = held_out_part(before_validation, kept[VALIDATION]) if kept[VALIDATION].any() else None
    new_users = notes["test_users_not_in_train"] == notes["users_with_test"]
    return Split(Selection(train_rows, validation, new_users), test, notes)


def _nothing_held_out(interactions: Interactions, part: int, *, are_known: bool) -> InputError:
    """Return the error of a part without rows; `are_known`: it has rows, and all of their pairs are known."""
    known_already = repeats = ""
    if are_known:
        known_already = " that is not already in train"
        repeats = "; data.duplicates=last keeps one row of a repeated pair, split=sessions predicts repeats"
    name = "test" if part == TEST else "validation"
    return InputError(f"no user has a {name} item{known_already}: {remedy(interactions)}{repeats}")


def with_item_properties(interactions: Interactions, train: np.ndarray) -> Interactions:
    """Add the item properties as of the latest train row to the item features."""
    if interactions.properties is None:
        return interactions
    assert interactions.time is not None
    known = interactions.properties.as_of(int(interactions.time[train].max()))
    return interactions.annotated(item_features=pd.concat([interactions.item_features, known], axis=1))


def _new_pairs(interactions: Interactions, known: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Return the mask [N] of the held-out rows whose user and item are in no known or earlier held-out row."""
    offsets, order = interactions.user_order
    new = np.zeros(len(interactions), bool)
    for block in blocks(offsets):
        rows = order[block]
        held = np.sort(rows[held_out[rows]])
        if len(held):
            rows = np.concatenate([rows[known[rows]], held])
            pair = interactions.user[rows].astype(np.int64) * interactions.n_items + interactions.item[rows]
            new[held] = ~pd.Series(pair).duplicated().to_numpy()[len(rows) - len(held) :]
    return new


def _occurring(codes: np.ndarray, size: int) -> np.ndarray:
    """Return the distinct codes, sorted; `size` is their bound."""
    return np.flatnonzero(np.diff(offsets_of(codes, size)))


def remedy(interactions: Interactions) -> str:
    """Return the sizes of the data and the settings to change, for messages about empty parts."""
    size = summary(interactions)
    span = f" from {size['first']} to {size['last']}" if "first" in size else ""
    if interactions.part is None:
        check = "the split settings (fractions, cut dates, min_history) or use another split"
    else:
        check = "the files of the split, and filters of rows (data.min_value, data.events, data.target_event)"
    return f"the data has {size['interactions']:,} interactions of {size['users']:,} users{span}; check {check}"
