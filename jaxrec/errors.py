"""Exception for invalid input."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Invalid file, column, row, key or value; the message names it and the fix.

    The message is one line, whatever the errors of libraries it contains.
    """

    def __init__(self, message: object) -> None:
        super().__init__(" ".join(str(message).split("\n")).strip())


def first_line(error: BaseException) -> str:
    """The first line of an error of a library, for a message of one line."""
    return str(error).partition("\n")[0]


@contextmanager
def named(prefix: str) -> Iterator[None]:
    """Put a prefix, e.g. the run that is at fault, before the message of an InputError; an empty one is omitted."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{prefix}: {error}" if prefix else str(error)) from error
