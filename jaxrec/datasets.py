"""Public data sets: `jaxrec.datasets.movielens_100k()`, fetched once from where they are published.

Each function takes the settings of the file of its name in `conf/data` and returns a `Dataset`.
"""

from collections.abc import Callable

from jaxrec.api.dataset import Dataset


def _named(name: str, what: str) -> Callable[..., Dataset]:
    def read(**options: object) -> Dataset:
        return Dataset.named(name, **options)

    read.__name__ = read.__qualname__ = name
    read.__doc__ = f"{what}; options are the settings of `conf/data/{name}.yaml`."
    return read


movielens_100k = _named("movielens_100k", "MovieLens-100K: 100,000 ratings of 943 users for 1,682 films")
movielens = _named("movielens", 'MovieLens `version="1m"`, 20M, 25M, 32M or latest-small')
retailrocket = _named("retailrocket", "Retailrocket: views, additions to carts and transactions of a shop")
online_retail = _named("online_retail", "Online Retail II: invoices of a wholesaler of gifts")
complete_journey = _named("complete_journey", "The Complete Journey: a year of groceries of 2,469 households")
synthetic = _named("synthetic", "Synthetic interactions with known clusters")
