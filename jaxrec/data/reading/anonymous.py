"""Rows of nobody: user ids that name no one, as shops write what is bought without an account."""

from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.errors import InputError

Anonymous = Literal["drop", "keep"]
NOBODY = ("", "-1", "-1.0", "nan", "none", "null")  # beside missing ids; blanks around them and capitals aside


def nobody_as_null(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """User ids with -1 (text "-1" among text) for every one that names nobody: missing, NaN or one of NOBODY."""
    if pa.types.is_null(ids.type):
        ids = ids.cast(pa.int64())
    if pa.types.is_floating(ids.type):
        ids = pc.if_else(pc.is_nan(ids), None, ids)
    if pa.types.is_unsigned_integer(ids.type) and ids.null_count:
        ids = ids.cast(pa.string())
    if not pa.types.is_string(ids.type):
        return ids.fill_null(-1) if ids.null_count else ids
    codes = ids.dictionary_encode().unify_dictionaries()  # so that each id is looked at once
    names = codes.chunk(0).dictionary
    nobody = pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(names)), pa.array(NOBODY))
    names = pc.if_else(nobody, "-1", names)
    return pa.chunked_array([names.take(chunk.indices) for chunk in codes.chunks]).fill_null("-1")


def settled(frame: pd.DataFrame, anonymous: Anonymous) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows of a frame (`user_id` as of `nobody_as_null`, categorical) and a note of what became of those of nobody.

    drop: they go
    keep: they are one user, whose id is -1
    """
    users = frame["user_id"].cat
    nobody = (users.categories.astype(str) == "-1")[users.codes]
    if not nobody.any():
        return frame, {}
    if anonymous == "keep":
        return frame, {"rows without a user, kept as the one user -1": int(nobody.sum())}
    if nobody.all():
        raise InputError(f"none of the {len(frame):,} rows names a user: data.anonymous=keep makes them all one user")
    return frame[~nobody], {"rows without a user, dropped": int(nobody.sum())}
