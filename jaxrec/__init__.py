"""jaxrec: recommender-system experiments on JAX."""

from importlib.metadata import version

__version__ = version("jaxrec")
