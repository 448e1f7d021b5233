"""What reading dropped or mended: a reason in words → how many rows."""

from collections.abc import Mapping

Notes = dict[str, int]

WARNING = "only some "  # how a reason begins that gets a line of its own, as it puts the whole data in doubt


def occurred(notes: Mapping[str, int]) -> Notes:
    """The reasons that any row gave."""
    return {reason: rows for reason, rows in notes.items() if rows}
