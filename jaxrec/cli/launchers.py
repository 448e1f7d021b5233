"""Launchers of Hydra, which start the workers of a search."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from jaxrec import command_line

if TYPE_CHECKING:
    from jaxrec.launch import Launcher, WorkerProcess


def make_launcher(hydra_context: HydraContext, config: DictConfig) -> "Launcher":
    """Return what starts the workers of a search: the chosen launcher of Hydra, or none for Hydra's default."""
    from jaxrec import launch

    name = str(config.hydra.runtime.choices["hydra/launcher"])
    if name == "basic":
        return launch.HERE

    def start(workers: "Sequence[WorkerProcess]") -> list[int]:
        # Composed without the other overrides, which may hold the password of a storage: jobs are written to files.
        typed = [str(text) for text in config.hydra.overrides.hydra]
        folder = command_line.override("hydra.sweep.dir", str(workers[0].log.parent))
        if name == "joblib" and not any(text.startswith("hydra.launcher.n_jobs=") for text in typed):
            typed.append(f"hydra.launcher.n_jobs={len(workers)}")
        own = hydra_context.config_loader.load_configuration(
            config_name=config.hydra.job.config_name,
            overrides=[*typed, folder, "hydra.sweep.subdir=."],
            run_mode=RunMode.MULTIRUN,
        )
        HydraConfig.instance().set_config(own)
        job = functools.partial(_job, tuple(workers))
        launcher = Plugins.instance().instantiate_launcher(hydra_context, job, own)
        return [done.return_value for done in launcher.launch([[] for _ in workers], 0)]

    return launch.Launcher(start, is_here=name in ("joblib", "submitit_local"))


def _job(workers: "Sequence[WorkerProcess]", cfg: DictConfig) -> int:
    """Run the worker of a job of a launcher."""
    return workers[HydraConfig.get().job.num].run()
