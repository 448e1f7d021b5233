"""Checks of ids for signs that the same id is written in several ways."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.notes import WARNING
from jaxrec.errors import InputError

INVISIBLE = "\u200b\u2060\ufeff"  # spaces and joiners of no width, as copied from web pages


def check_distinct(ids: pa.Array, what: str) -> None:
    """Raise InputError if two ids look the same: they differ only in blanks, invisible characters or Unicode form.

    Args:
        ids: distinct ids; integers are always distinct.
        what: the column, or whatever has the ids, for the message.
    """
    if not pa.types.is_string(ids.type):
        return
    seen = pc.replace_substring_regex(pc.utf8_normalize(ids, form="NFC"), f"[{INVISIBLE}]", "")
    plain = pc.utf8_trim_whitespace(seen)
    if pc.count_distinct(plain).as_py() == len(ids):
        return
    codes = plain.dictionary_encode().indices.to_numpy()
    later = int(np.flatnonzero(pd.Series(codes).duplicated().to_numpy())[0])
    first = int(np.flatnonzero(codes == codes[later])[0])
    one, other = ids[first].as_py(), ids[later].as_py()
    raise InputError(
        f"{what}: the ids {one!a} and {other!a} differ only in blanks around them, in invisible characters "
        "or in the Unicode form of a letter: write each id the same way everywhere, e.g. without blanks"
    )


def few_matched(ids: np.ndarray, expected: np.ndarray, kind: str, here: str, there: str) -> dict[str, int]:
    """Return a warning note if fewer than half of the `expected` ids are among `ids`.

    Args:
        ids: distinct ids of the file `here`, as text.
        expected: distinct ids of the file `there`, as text.
        kind: `user` or `item`.
        here: name of the file that should contain the ids, for messages.
        there: name of the other file, for messages.

    Raises:
        InputError: none of the ids matches, i.e. the files write ids differently or do not belong together.
    """
    if not len(expected):
        return {}
    found = np.isin(expected.astype(str), ids.astype(str))
    if 2 * found.sum() >= len(expected):
        return {}
    example = f"{here} has {ids[0]!r}, {there} has {expected[~found][0]!r}" if len(ids) else f"{here} has none"
    if not found.any():
        raise InputError(
            f"none of the {len(expected):,} {kind} ids of {there} is in {here}: {example}; write ids the same way in "
            "both files"
        )
    reason = (
        f"of {len(expected):,} {kind} ids of {there} are in {here}: check that ids are written the same way; {example}"
    )
    return {WARNING + reason: int(found.sum())}
