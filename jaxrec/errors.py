"""The one exception that means: what you gave us cannot be used, and here is what to do about it."""


class InputError(ValueError):
    """A file, column, row, key or value is bad. The message names it and says what to do; scripts print it alone."""
