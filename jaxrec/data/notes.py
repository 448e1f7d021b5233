"""Notes of a reader: rows dropped or repaired, as reason → number of rows."""

from collections.abc import Mapping

Notes = dict[str, int]

WARNING = "only some "  # prefix of reasons that are reported as warnings, as they question the data as a whole


def nonzero(notes: Mapping[str, int]) -> Notes:
    """Return the notes with a nonzero count."""
    return {reason: rows for reason, rows in notes.items() if rows}
