"""Training by several processes, `cluster=true`."""

import os
import signal
import sys
import tempfile
import traceback

from jax.errors import JaxRuntimeError
from omegaconf import DictConfig

from jaxrec.cli import commands
from jaxrec.cli.application import run_command
from jaxrec.cli.exit_codes import exit_code_of
from jaxrec.errors import InputError


def train_on_cluster(words: list[str]) -> int:
    """Join the other processes of this run and train; only the first one writes files and prints. Return exit code."""
    from jaxrec import cluster

    def train(cfg: DictConfig) -> None:
        try:
            commands.train(cfg)
        except JaxRuntimeError:
            cluster.await_loss()
            raise

    def run() -> int:
        if clash := [word for word in words if word in ("--multirun", "-m") or word.startswith("seeds=")]:
            raise InputError(
                f"{clash[0]} has no effect with cluster=true, which trains one model: remove one of the two"
            )
        for number in (signal.SIGTERM, signal.SIGINT):  # processes cannot agree on where to stop; saved states remain
            signal.signal(number, signal.SIG_DFL)
        cluster.join()
        with tempfile.TemporaryDirectory() as own:
            if not cluster.is_first():
                sys.stdout = open(os.devnull, "w")  # noqa: SIM115
                sys.argv[1:] = [word for word in words if not word.startswith("hydra.run.dir=")]
                sys.argv.append(f"hydra.run.dir={own}/run")
            return run_command("config", train)

    try:
        code = exit_code_of(run)
    except SystemExit as end:  # of Hydra's parser
        code = int(end.code or 0)
    except Exception:
        traceback.print_exc()
        code = 1
    cluster.leave(code)
    return code
