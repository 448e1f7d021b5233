"""Train and rank on eight CPU devices, with and without a mesh, and print the differences; used by test_mesh.py."""

import json
import sys

import hydra
import jax
import numpy as np

from jaxrec import experiment, settings
from jaxrec.config import VERSION_BASE, plain
from jaxrec.fitting.capacity import epoch_of
from jaxrec.settings import CONF

DATA = "data=synthetic data.n_users=203 data.n_items=131 data.n_interactions=4000"
SETTINGS = "trainer.epochs=2 trainer.patience=null trainer.batch_size=512 optimizer.learning_rate=0.05"


def trained(overrides: str, mesh: str) -> dict:
    """Return parameters, losses, lists, and the bytes of tables and optimizer state on the first device."""
    tree = plain(hydra.compose("config", f"{DATA} {SETTINGS} {overrides} {mesh}".split()))
    settings.check(tree)
    split, _ = experiment.prepare(tree)
    ((_, shared, population),) = settings.populations([tree])
    selected = experiment.select(shared, split.selection, population)
    (result,) = experiment.finish(shared, split, selected)
    trainer = experiment.trainer(shared)
    program, placement = trainer.program(selected.model, split.selection.train, population.hyper, 1)
    _, (_, states, *_) = epoch_of(program, placement, population.hyper_of(0))
    tables = [x for path, x in jax.tree_util.tree_leaves_with_path(states) if "'table'" in jax.tree_util.keystr(path)]
    return {
        "params": result.params,
        "losses": [row["loss"] for row in selected.fit.history[0]],
        "items": result.lists.items,
        "metrics": result.metrics["test"],
        "bytes": sum(x.addressable_shards[0].data.nbytes for x in tables if x.shape[1] > 64),
    }


def compared(overrides: str, mesh: str) -> dict:
    """Return the largest differences between a fit with and without a mesh."""
    one, split = trained(overrides, ""), trained(overrides, mesh)
    differences = jax.tree.map(lambda x, y: float(np.abs(x - y).max()), one["params"], split["params"])
    return {
        "parameters": max(jax.tree.leaves(differences)),
        "losses": max(abs(x / y - 1) for x, y in zip(one["losses"], split["losses"], strict=True)),
        "other_items": float(np.mean(one["items"] != split["items"])),
        "metrics": max(abs(one["metrics"][key] - split["metrics"][key]) for key in one["metrics"]),
        "bytes": [one["bytes"], split["bytes"]],
    }


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 8)
    with hydra.initialize_config_dir(str(CONF), **VERSION_BASE):
        print(json.dumps(compared(sys.argv[1], sys.argv[2])))
