"""Exception for invalid input."""


class InputError(ValueError):
    """Invalid file, column, row, key or value; the message names it and the fix, and commands print it in one line."""
