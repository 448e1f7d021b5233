"""Start of `jaxrec COMMAND ...`."""

import os
import signal
import sys
from collections.abc import Sequence
from difflib import get_close_matches

from jaxrec.cli.application import run_command
from jaxrec.cli.commands import COMMANDS
from jaxrec.cli.exit_codes import exit_code_of
from jaxrec.cli.on_cluster import train_on_cluster
from jaxrec.cli.options import split_options
from jaxrec.cli.tuned_choices import with_tuned_choices
from jaxrec.command_line import override
from jaxrec.errors import InputError

PLACES = ("hydra.run.dir=", "hydra.sweep.dir=")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `jaxrec COMMAND [GROUP=CHOICE] [KEY=VALUE] ...`; invalid input exits with code 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_USAGE)
        return
    if words[0] in ("-V", "--version"):
        from jaxrec import __version__

        print(f"jaxrec {__version__}")
        return
    if (name := words[0]) not in COMMANDS:
        near = get_close_matches(name, COMMANDS, 1)
        print(
            f"error: jaxrec {name}: unknown command; "
            + (f"did you mean jaxrec {near[0]}? " if near else "")
            + f"Available: {', '.join(COMMANDS)}",
            file=sys.stderr,
        )
        sys.exit(2)

    def rewrite() -> None:
        sys.argv[1:] = arguments_of(name, words[1:])

    if code := exit_code_of(rewrite):
        sys.exit(code)
    config_name, work, _ = COMMANDS[name]
    if {"-h", "--help"} & set(words):
        sys.exit(exit_code_of(lambda: print(_help(name, config_name))))
    if name == "train":
        # Clusters end jobs with SIGTERM, which is handled like Ctrl-C: the model trained so far is saved.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if "cluster=true" in words:
            sys.exit(train_on_cluster(sys.argv[1:]))
    sys.exit(run_command(config_name, work))


def arguments_of(name: str, words: Sequence[str]) -> list[str]:
    """Return the arguments of Hydra for the words after `jaxrec NAME`."""
    options, others = split_options(words)
    others = [_with_home(text) for text in others]
    if name != "train" and (placed := [text for text in others if text.startswith(PLACES)]):
        raise InputError(
            f"{placed[0]} has no effect on jaxrec {name}: only jaxrec train reads it, other commands have out=…"
        )
    if name == "train":
        others = with_tuned_choices(options, others)
    elif name == "compare":
        others = _with_runs(others)
    elif name == "verify":
        others = _with_target(others)
    return [*options, *others]


def _with_home(text: str) -> str:
    """An override with a path below ~, with the path of the home folder: shells expand ~ at the start of words only."""
    key, _, value = text.partition("=")
    path = value.strip("\"'")
    return override(key, os.path.expanduser(path)) if path == "~" or path.startswith("~/") else text


def _with_runs(words: Sequence[str]) -> list[str]:
    """Run directories given as words (`jaxrec compare A B`) as an override."""
    runs = [text for text in words if "=" not in text]
    return [*(text for text in words if "=" in text), *([override("runs", runs)] if runs else [])]


def _with_target(words: Sequence[str]) -> list[str]:
    """Run directory or study given as a word (`jaxrec verify RUN`) as an override."""
    return [text if "=" in text else override("target", text) for text in words]


def _help(name: str, config_name: str) -> str:
    from jaxrec.cli.help import help_text

    return help_text(config_name, sys.argv[1:], _TRAIN if name == "train" else None)


_TRAIN = """\
jaxrec train: train a model, a grid of models, or search for the best settings or model.

Usage: jaxrec train [GROUP=CHOICE] ... [KEY=VALUE] ...
       jaxrec train --multirun sweep=mf                  search with Optuna
       jaxrec train --multirun sweep=compare             search for several models, one table
       jaxrec train --multirun model=mf,ease seeds=3     train every combination, with 3 seeds each
       jaxrec train model=sasrec --help                  the settings of another choice
       jaxrec train --cfg job                            the settings as one YAML file"""

_USAGE = "\n".join(
    [
        "jaxrec: train, search, evaluate and serve recommender models.",
        "",
        "Usage: jaxrec COMMAND [GROUP=CHOICE] [KEY=VALUE] ...",
        "       jaxrec COMMAND --help",
        "",
        *(f"  {name:<11}{text}" for name, (_, _, text) in COMMANDS.items()),
        "",
        "First steps: jaxrec train --multirun sweep=mf",
    ]
)
