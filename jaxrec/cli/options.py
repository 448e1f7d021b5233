"""Hydra's options (--multirun, --config-dir DIR, ...) among the words of a command line."""

import argparse
from collections.abc import Sequence

SHORT = ("-c", "-p", "-cp", "-cn", "-cd")  # options with a value
LONG = ("--cfg", "--package", "--config-path", "--config-name", "--config-dir", "--experimental-rerun")


def split_options(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line into options with their values, and all other words.

    Hydra's parser refuses overrides on both sides of an option, so options go first.

    Example:
        >>> split_options(["sweep=mf", "--multirun", "seed=1", "--config-dir", "conf"])
        (['--multirun', '--config-dir', 'conf'], ['sweep=mf', 'seed=1'])
    """
    options: list[str] = []
    others: list[str] = []
    needs_value = False
    for word in arguments:
        if needs_value or word.startswith("-"):
            options.append(word)
            needs_value = not needs_value and _takes_value(word)
        elif options[-1:] in (["--info"], ["-i"]) and "=" not in word:
            options[-1] = f"--info={word}"
        else:
            others.append(word)
    # Without a value, Hydra would take the first override for it.
    return ["--info=all" if word in ("--info", "-i") else word for word in options], others


def _takes_value(word: str) -> bool:
    long = len(word) > 2 and any(name.startswith(word) for name in LONG)  # Hydra accepts abbreviations
    return word in SHORT or long


def path_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse --config-path and --config-dir."""
    parser = argparse.ArgumentParser(add_help=False)  # abbreviates options as Hydra's does
    parser.add_argument("--config-path", "-cp")
    parser.add_argument("--config-dir", "-cd")
    return parser.parse_known_args(list(arguments))[0]
