"""What every evaluator gives: metrics of each row asked and in the mean."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd

from jaxrec.data.interactions import Interactions
from jaxrec.evaluation.ground_truth import GroundTruth
from jaxrec.hyper import Hyper
from jaxrec.metrics import mean_and_interval
from jaxrec.models.model import Model, Params


class Evaluator(ABC):
    """Measures the members of a population on one held-out part.

    Attributes:
        model: the model that scores.
        undefined: key of each metric that these held-out rows leave without a value → why.
    """

    model: Model
    undefined: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def __call__(self, params: Params, hyper: Hyper) -> "Evaluation":
        """Parameters and numbers with a leading member axis → metrics of every member; NaN for a diverged one."""


class RankedLists(NamedTuple):
    """Lists of one model: users [R], items [R, K] by rank, -1 behind the last, and what row r was to find:
    `sought[offsets[r] : offsets[r + 1]]`.
    """

    users: np.ndarray
    items: np.ndarray
    offsets: np.ndarray
    ground_truth: np.ndarray


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics of a population: of each row asked [P, R] by key, and over the lists together [P] (coverage).

    sought: the rows, one a user or, at every step of a session and among candidates, one a held-out interaction
    lists:  [P, R, K], the items by rank, -1 where there is none; among candidates the item sought alone, at its rank
    finite: [P], whether all scores of a member were; no metric of one that diverged means anything
    prefix: of every key that is not of a full-catalog ranking: `sampled_`
    """

    ground_truth: GroundTruth
    per_user: dict[str, np.ndarray]
    overall: dict[str, np.ndarray]
    lists: jax.Array
    finite: np.ndarray
    prefix: str = ""

    @property
    def users(self) -> np.ndarray:
        """Whom each row asks about, [R]."""
        return self.ground_truth.asked.users

    def shown(self, member: int) -> RankedLists | None:
        """The lists of one member; None where only candidates were ranked."""
        if self.prefix:
            return None
        return RankedLists(
            self.users, np.asarray(self.lists[member]), self.ground_truth.offsets, self.ground_truth.items
        )

    def means(self, member: int) -> dict[str, float]:
        """Every metric of one member, in the mean over rows; each has something to find."""
        means = {key: float(np.mean(values[member], dtype=np.float64)) for key, values in self.per_user.items()}
        return means | {key: float(values[member]) for key, values in self.overall.items()}

    def intervals(self, member: int) -> dict[str, tuple[float, float]]:
        """95 % bootstrap interval of each mean; users are drawn again, each with all its rows."""
        units = self.users if self.ground_truth.singly else None
        return {key: mean_and_interval(values[member], units=units)[1:] for key, values in self.per_user.items()}

    def table(self, member: int, data: Interactions) -> pd.DataFrame:
        """One row a row asked: user_id and each metric; where rows seek one item each, also item_id and `known`.

        `known` counts the interactions known when the row is asked: in a session those of the steps before.
        """
        columns: dict[str, np.ndarray] = {"user_id": data.user_ids[self.users]}
        if self.ground_truth.singly:
            columns |= {"item_id": data.item_ids[self.ground_truth.items], "known": self.ground_truth.n_known}
        return pd.DataFrame(columns | {key: values[member] for key, values in self.per_user.items()})
