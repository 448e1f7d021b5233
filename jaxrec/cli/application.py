"""Composition of the settings of a command by Hydra, and its execution."""

import argparse
import os
import sys
from collections.abc import Callable

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from jaxrec.atomic_files import ADVICE
from jaxrec.cli.exit_codes import exit_code_of
from jaxrec.cli.settings_folders import check_folders
from jaxrec.config import VERSION_BASE, explain
from jaxrec.errors import InputError
from jaxrec.settings import CONF


def run_command(config_name: str, work: Callable[[DictConfig], None]) -> int:
    """Compose the configuration and run the command; return its exit code, 2 for invalid input, which is printed."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # makes Hydra raise, so that the error is printed here
    from jaxrec.console import show_warnings

    errors: list[Exception] = []
    started = False

    def guarded(cfg: DictConfig) -> None:
        nonlocal started
        started = True
        show_warnings()
        try:
            work(cfg)
        except InputError as error:  # not raised inside Hydra, which would print the overrides
            errors.append(error)
        except OmegaConfBaseException as error:
            errors.append(InputError(explain(error)))
        except OSError as error:
            if error.errno not in ADVICE:
                raise
            errors.append(error)

    def main() -> None:
        check_folders(sys.argv[1:])
        _allow_lazy_help()
        try:
            hydra.main(config_path=str(CONF), config_name=config_name, **VERSION_BASE)(guarded)()
        except OSError as error:  # Hydra creates the run directory before the command starts
            if started or isinstance(error, BrokenPipeError | HydraException):
                raise
            reason = error.strerror or error
            raise InputError(f"cannot write to {error.filename}: {reason}; set another hydra.run.dir") from error
        if errors:
            raise errors[0]

    return exit_code_of(main)


def _allow_lazy_help() -> None:
    """Turn off the check of help texts when options are added, new in Python 3.14.

    Hydra 1.3 passes an object that becomes a text when it is printed, which the check rejects.
    """
    if sys.version_info >= (3, 14):
        argparse.ArgumentParser._check_help = lambda *_: None
