"""The sweeper that Hydra finds here by name. Imports are lazy, for every Hydra program loads this file."""

from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper


class JaxrecSweeper(Sweeper):
    """Hands the typed overrides to `jaxrec.cli.multirun.multirun`."""

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """Keeps what Hydra has composed so far."""
        self.hydra_context, self.config = hydra_context, config

    def sweep(self, arguments: list[str]) -> Any:
        """Trains a grid, or searches a space."""
        from jaxrec.cli.multirun import multirun

        return multirun(self.hydra_context, self.config, arguments)


ConfigStore.instance().store(
    group="hydra/sweeper", name="jaxrec", node={"_target_": "hydra_plugins.jaxrec_sweeper.JaxrecSweeper"}
)
