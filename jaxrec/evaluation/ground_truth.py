"""Ground truth: held-out interactions as evaluated rows, with their users, histories and relevant items."""

from typing import NamedTuple

import numpy as np

from jaxrec.data.histories import select_rows
from jaxrec.data.interactions import Interactions
from jaxrec.data.splits.split import HeldOut
from jaxrec.errors import InputError
from jaxrec.ragged import Ragged, ragged, sort_rows
from jaxrec.ranking import QueryRows


class GroundTruth(NamedTuple):
    """Evaluated rows and their relevant items, sorted: `items[offsets[r] : offsets[r + 1]]` for row r.

    Attributes:
        queries: users and histories of the rows
        offsets: bounds of the relevant items of each row
        items: relevant items of all rows
        one_per_row: whether each row has one relevant item, so that a user may have several rows
    """

    queries: QueryRows
    offsets: np.ndarray
    items: np.ndarray
    one_per_row: bool

    @property
    def relevant(self) -> Ragged:
        """Relevant items on the device."""
        return ragged(self.offsets, self.items)

    @property
    def n_known(self) -> np.ndarray:
        """Number of interactions known for each row, [R]: at a step of a session, those before it."""
        return self.queries.end - self.queries.start


def ground_truth(held_out: HeldOut, *, one_per_row: bool = False) -> GroundTruth:
    """One row per user with held-out items; one per held-out interaction if `one_per_row` or for session splits.

    The history of a row is all that is known of its user; at a step of a session, the interactions before it.

    Raises:
        InputError: if there are no held-out interactions.
    """
    if not len(held_out.target):
        raise InputError(f"{held_out.target.name}: there are no held-out interactions: hold out a larger part in split")
    if held_out.order is not None:
        return _steps(held_out, held_out.order)
    is_evaluated = _of_evaluated_users(held_out.known, held_out)
    known = (held_out.known if is_evaluated.all() else held_out.known.take(is_evaluated)).histories
    if one_per_row:
        _, rows = held_out.target.user_order
        users = held_out.target.user[rows]
        queries = QueryRows.for_users(users, known, held_out.known.encoded, filter_seen=False)
        return GroundTruth(queries, np.arange(len(rows) + 1), held_out.target.item[rows], one_per_row=True)
    offsets, items = held_out.target.histories[:2]
    users = np.flatnonzero(np.diff(offsets))
    offsets, items = select_rows(offsets, items, users)
    return GroundTruth(
        QueryRows.for_users(users, known, held_out.known.encoded), offsets, sort_rows(offsets, items), one_per_row=False
    )


def _steps(held_out: HeldOut, order: np.ndarray) -> GroundTruth:
    """One row per target with the user's earlier interactions as history; nothing is masked."""
    context = held_out.joined()
    is_target = np.argsort(order) >= len(held_out.known)  # `order` numbers the rows of `known` first
    rows_of_users = _of_evaluated_users(context, held_out)
    context, is_target = context.take(rows_of_users), is_target[rows_of_users]
    known = context.histories
    _, rows = context.user_order
    end = np.flatnonzero(is_target[rows])
    users = context.user[rows[end]]
    queries = QueryRows(users, known, known.offsets[users], end, encoded=held_out.known.encoded)
    return GroundTruth(queries, np.arange(len(end) + 1), known.items[end], one_per_row=True)


def _of_evaluated_users(rows: Interactions, held_out: HeldOut) -> np.ndarray:
    """Mask of the rows of users with held-out interactions; others need not be copied to a device."""
    is_evaluated = np.zeros(rows.n_users, bool)
    is_evaluated[held_out.target.user] = True
    return is_evaluated[rows.user]
