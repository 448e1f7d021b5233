"""Result of an evaluation: metrics per evaluated row and their means."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float

from jaxrec import backend
from jaxrec.blockwise import map_members
from jaxrec.bootstrap import mean_and_interval
from jaxrec.data.interactions import Interactions
from jaxrec.data.splits.split import HeldOut
from jaxrec.evaluation.ground_truth import GroundTruth
from jaxrec.fallback import Fallback
from jaxrec.hyper import Hyper
from jaxrec.models.model import Model, Params

SUMMED = 128  # values per partial sum of a mean: float32 sums of many users keep seven digits


class Measured(NamedTuple):
    """Metrics of a population on the devices; see `Evaluation` for the fields. NaN for a diverged member."""

    per_user: dict[str, Float[Array, "P R"]]
    overall: dict[str, Float[Array, "P"]]
    lists: Array
    finite: Bool[Array, "P"]


class Evaluator(ABC):
    """Measures the members of a population on one held-out part.

    Attributes:
        model: the model that scores.
        ground_truth: the held-out rows.
        undefined: key of each metric that these held-out rows leave without a value → why.
        prefix: prefix of metric keys.
    """

    model: Model
    ground_truth: GroundTruth
    undefined: Mapping[str, str] = MappingProxyType({})
    prefix = ""

    @abstractmethod
    def measure(self, params: Params, hyper: Hyper, active: Bool[np.ndarray, "P"] | None = None) -> Measured:
        """Metrics of every member, from parameters and hyperparameters with a leading member axis.

        The metrics of members that are not `active` are meaningless.
        """

    def __call__(self, params: Params, hyper: Hyper) -> "Evaluation":
        """Metrics of every member, on the host."""
        measured = self.measure(params, hyper)
        per_user, overall = ({k: backend.to_host(x) for k, x in part.items()} for part in measured[:2])
        finite, lists = backend.to_host(measured.finite), measured.lists
        lists = lists if lists.is_fully_addressable else backend.to_host(lists)
        return Evaluation(self.ground_truth, per_user, overall, lists, finite, self.prefix)

    def means(self, params: Params, hyper: Hyper, active: Bool[np.ndarray, "P"]) -> dict[str, Float[Array, "P"]]:
        """Means of every metric of each active member, reduced on the devices."""
        measured = self.measure(params, hyper, active)
        return {**_means(OrderedDict(measured.per_user)), **measured.overall}


class EvaluationSettings(ABC):
    """Settings of an evaluation: what is ranked, and what is measured.

    Attributes:
        k: list lengths to report.
        monitor: validation metric for early stopping and searches.
    """

    k: tuple[int, ...]
    monitor: str

    @property
    @abstractmethod
    def measured(self) -> tuple[str, ...]:
        """Keys of all reported metrics."""

    @property
    @abstractmethod
    def monitored(self) -> "EvaluationSettings":
        """The settings that measure the monitor, and as little else as possible."""

    @property
    def ranking(self) -> "EvaluationSettings":
        """The settings that apply to any model; by default all of them."""
        return self

    def for_test(self, known: Interactions) -> "EvaluationSettings":
        """The settings for the test part; by default the same."""
        return self

    def check_data(self, known: Interactions) -> None:  # noqa: B027
        """Raise an InputError if the data lacks what a metric needs; by default none needs more than the lists."""

    @abstractmethod
    def evaluator(self, model: Model, held_out: HeldOut, fallback: Fallback | None = None) -> Evaluator:
        """Build the evaluator of a model.

        Args:
            model: the model that scores.
            held_out: the part to evaluate on.
            fallback: sources for users whom the model cannot score; None: the model scores all users.

        Raises:
            InputError: the settings do not fit the data.
        """


def invalidated(values: Mapping[str, Array], finite: Bool[Array, "P"]) -> OrderedDict[str, Array]:
    """Metrics with NaN for members whose scores are not finite; in their order, which jit keeps."""
    valid = jnp.where(finite, jnp.float32(1), jnp.float32(jnp.nan))
    return OrderedDict((key, x * valid.reshape(-1, *[1] * (x.ndim - 1))) for key, x in values.items())


@jax.jit
def _means(per_user: OrderedDict[str, Float[Array, "P R"]]) -> OrderedDict[str, Float[Array, "P"]]:
    def mean(x: Float[Array, "R"]) -> Float[Array, ""]:
        is_defined = ~jnp.isnan(x)
        parts = jnp.pad(jnp.where(is_defined, x, 0), (0, -len(x) % SUMMED)).reshape(-1, SUMMED)
        return jnp.sum(jnp.sum(parts, axis=1)) / jnp.sum(is_defined).astype(jnp.float32)

    return map_members(lambda own: OrderedDict((key, mean(x)) for key, x in own.items()))(per_user)


class RankedLists(NamedTuple):
    """Ranked lists of one model with their relevant items.

    Attributes:
        users: user of each row, [R]
        items: items by rank, [R, K]; padded with -1
        offsets: bounds of the relevant items of each row, [R + 1]
        ground_truth: relevant items; those of row r are `ground_truth[offsets[r] : offsets[r + 1]]`
    """

    users: np.ndarray
    items: np.ndarray
    offsets: np.ndarray
    ground_truth: np.ndarray


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics of a population.

    Attributes:
        ground_truth: evaluated rows: one per user, or one per held-out interaction for sessions and among candidates
        per_user: metrics of each row by key, [P, R]
        overall: metrics of all lists or predictions together (coverage, rmse) by key, [P]
        lists: items by rank, [P, R, K], padded with -1; among candidates only the target, at its rank
        finite: whether all scores of a member were finite, [P]; metrics of other members are meaningless
        prefix: prefix of metric keys: `sampled_` among candidates
    """

    ground_truth: GroundTruth
    per_user: dict[str, np.ndarray]
    overall: dict[str, np.ndarray]
    lists: jax.Array | np.ndarray
    finite: np.ndarray
    prefix: str = ""

    @property
    def users(self) -> np.ndarray:
        """User of each row, [R]."""
        return self.ground_truth.queries.users

    def ranked_lists(self, member: int) -> RankedLists | None:
        """Ranked lists of one member with their relevant items; None if only candidates were ranked."""
        if self.prefix:
            return None
        return RankedLists(
            self.users, np.asarray(self.lists[member]), self.ground_truth.offsets, self.ground_truth.items
        )

    def means(self, member: int) -> dict[str, float]:
        """Means of every metric of one member over the rows where it is defined; NaN if there are none."""
        defined = {key: values[member][~np.isnan(values[member])] for key, values in self.per_user.items()}
        means = {key: float(x.mean(dtype=np.float64)) if len(x) else np.nan for key, x in defined.items()}
        return means | {key: float(values[member]) for key, values in self.overall.items()}

    def intervals(self, member: int) -> dict[str, tuple[float, float]]:
        """95% bootstrap interval of each mean; users are resampled with all of their rows."""
        units = self.users if self.ground_truth.one_per_row else None
        return {key: mean_and_interval(values[member], units=units)[1:] for key, values in self.per_user.items()}

    def table(self, member: int, data: Interactions) -> pd.DataFrame:
        """One row per evaluated row: user_id and each metric; with one target per row also item_id and `known`.

        `known` is the number of interactions known before the target: in a session, those of the steps before.
        """
        columns: dict[str, np.ndarray] = {"user_id": data.user_ids[self.users]}
        if self.ground_truth.one_per_row:
            columns |= {"item_id": data.item_ids[self.ground_truth.items], "known": self.ground_truth.n_known}
        return pd.DataFrame(columns | {key: values[member] for key, values in self.per_user.items()})
