"""Anonymous users: user ids that stand for purchases without an account, such as empty text or -1."""

from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.errors import InputError

Anonymous = Literal["drop", "keep"]
# Texts that count as missing ids; compared in lower case without surrounding blanks.
ANONYMOUS_IDS = ("", "-1", "-1.0", "nan", "none", "null", "n/a", "#n/a", "<na>", "\\n")  # the last of MySQL


def mark_anonymous(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Replace anonymous user ids (missing, NaN or one of `ANONYMOUS_IDS`) by -1, or "-1" in a column of text."""
    if pa.types.is_null(ids.type):
        ids = ids.cast(pa.int64())
    if pa.types.is_floating(ids.type):
        ids = pc.if_else(pc.is_nan(ids), None, ids)
    if pa.types.is_unsigned_integer(ids.type) and ids.null_count:
        ids = ids.cast(pa.string())
    if not pa.types.is_string(ids.type):
        return ids.fill_null(-1) if ids.null_count else ids
    codes = ids.dictionary_encode().unify_dictionaries()  # process each distinct id once
    names = codes.chunk(0).dictionary
    anonymous = pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(names)), pa.array(ANONYMOUS_IDS))
    names = pc.if_else(anonymous, "-1", names)
    return pa.chunked_array([names.take(chunk.indices) for chunk in codes.chunks]).fill_null("-1")


def is_anonymous_text(user: str) -> bool:
    """Return whether the text of a user id stands for a missing user."""
    return user.strip().lower() in ANONYMOUS_IDS


def placeholder_items(item_ids: np.ndarray) -> np.ndarray:
    """Return whether each item id reads like a missing one, e.g. NULL."""
    if item_ids.dtype != object:
        return item_ids == -1
    return np.fromiter(map(is_anonymous_text, item_ids), bool, len(item_ids))


def filter_anonymous(frame: pd.DataFrame, anonymous: Anonymous) -> tuple[pd.DataFrame, dict[str, int]]:
    """Drop the rows of anonymous users or keep them as one user.

    Args:
        frame: `user_id` categorical, with ids from `mark_anonymous`.
        anonymous: drop the rows, or keep them as one user with the id -1.

    Returns:
        The remaining rows and a note with the number of anonymous rows.

    Raises:
        InputError: no row would remain.
    """
    users = frame["user_id"].cat
    is_anonymous = (users.categories.astype(str) == "-1")[users.codes]
    if not is_anonymous.any():
        return frame, {}
    if anonymous == "keep":
        return frame, {"rows without a user (missing, empty or -1), kept as the one user -1": int(is_anonymous.sum())}
    if is_anonymous.all():
        raise InputError(f"none of the {len(frame):,} rows has a user: data.anonymous=keep treats them as one user")
    return frame[~is_anonymous], {"rows without a user (missing, empty or -1), dropped": int(is_anonymous.sum())}
