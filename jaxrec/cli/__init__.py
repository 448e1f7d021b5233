"""Command line: composes conf/ and overrides, and calls the module of the command."""

from jaxrec.cli.start import main

__all__ = ["main"]
