"""Held-out interactions as rows to ask about: who is asked, with which history, and what each row is to find."""

from typing import NamedTuple

import numpy as np

from jaxrec.data.histories import histories, select_rows
from jaxrec.data.interactions import Interactions, by_user, user_order
from jaxrec.data.splits.split import HeldOut
from jaxrec.errors import InputError
from jaxrec.ragged import Ragged, ragged, sort_rows
from jaxrec.ranking import QueryRows


class GroundTruth(NamedTuple):
    """Rows, and of each the items to be found: `items[offsets[r] : offsets[r + 1]]`, sorted.

    singly: whether every row seeks one item, so that a user may have several rows
    """

    asked: QueryRows
    offsets: np.ndarray
    items: np.ndarray
    singly: bool

    @property
    def relevant(self) -> Ragged:
        """The items to be found, on the device."""
        return ragged(self.offsets, self.items)

    @property
    def n_known(self) -> np.ndarray:
        """How many interactions are known to each row, [R]: at step n of a session, those before it."""
        return self.asked.end - self.asked.start


def ground_truth(held: HeldOut, *, singly: bool = False) -> GroundTruth:
    """One row a user who has something to find; `singly`, and for splits that ask at every step, one an interaction.

    A row's history is all that is known of its user; at every step, what the user did before it. Raises InputError
    where nobody has anything to find.
    """
    if not len(held.target):
        raise InputError(f"{held.target.name}: no user has a held-out item to be found; hold out more")
    if held.order is not None:
        return _steps(held, held.order)
    known = histories(held.known.take(_mine(held.known, held)))
    if singly:
        _, rows = user_order(held.target)
        users = held.target.user[rows]
        asked = QueryRows(users, known, known.offsets[users], known.offsets[users + 1], encoded=held.known.encoded)
        return GroundTruth(asked, np.arange(len(rows) + 1), held.target.item[rows], singly=True)
    offsets, items = by_user(held.target)
    users = np.flatnonzero(np.diff(offsets))
    offsets, items = select_rows(offsets, items, users)
    return GroundTruth(
        QueryRows.about(users, known, held.known.encoded), offsets, sort_rows(offsets, items), singly=False
    )


def _steps(held: HeldOut, order: np.ndarray) -> GroundTruth:
    """Every target after what its user did before it; nothing is masked."""
    context = held.joined()
    is_target = np.argsort(order) >= len(held.known)  # `order` names the rows of known first
    mine = _mine(context, held)
    context, is_target = context.take(mine), is_target[mine]
    known = histories(context)
    _, rows = user_order(context)
    end = np.flatnonzero(is_target[rows])
    users = context.user[rows[end]]
    asked = QueryRows(users, known, known.offsets[users], end, encoded=held.known.encoded)
    return GroundTruth(asked, np.arange(len(end) + 1), known.items[end], singly=True)


def _mine(rows: Interactions, held: HeldOut) -> np.ndarray:
    """Mask of the rows of users who are asked about: nobody else's need to be sorted, or to lie on a device."""
    asked_about = np.zeros(rows.n_users, bool)
    asked_about[held.target.user] = True
    return asked_about[rows.user]
