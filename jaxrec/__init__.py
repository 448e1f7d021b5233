"""jaxrec: recommender-system experiments on JAX.

    data = jaxrec.Dataset(frame, user="customer", item="sku", time="date")
    split = jaxrec.split(data, "global_time")
    model = jaxrec.fit(split, "mf", overrides={"model.embedding_dim": 32})
    model.recommend(["c17"], k=10)

Names and settings are those of the command line, `jaxrec train --help`.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxrec import datasets as datasets
    from jaxrec.api.comparison import evaluate as evaluate
    from jaxrec.api.dataset import Dataset as Dataset
    from jaxrec.api.dataset import split as split
    from jaxrec.api.searching import search as search
    from jaxrec.api.trained_model import TrainedModel as TrainedModel
    from jaxrec.api.trained_model import load as load
    from jaxrec.api.training import fit as fit
    from jaxrec.errors import InputError as InputError

__version__ = version("jaxrec")

# Imported at first use, so that `import jaxrec` and commands that need no model start at once.
_MODULES = {
    "Dataset": "jaxrec.api.dataset",
    "InputError": "jaxrec.errors",
    "TrainedModel": "jaxrec.api.trained_model",
    "evaluate": "jaxrec.api.comparison",
    "fit": "jaxrec.api.training",
    "load": "jaxrec.api.trained_model",
    "search": "jaxrec.api.searching",
    "split": "jaxrec.api.dataset",
}
__all__ = ["Dataset", "InputError", "TrainedModel", "datasets", "evaluate", "fit", "load", "search", "split"]


def __getattr__(name: str) -> object:
    if name == "datasets":
        return import_module("jaxrec.datasets")
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'jaxrec' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
