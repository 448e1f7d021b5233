"""Model with trained parameters: top-k ranking of users and scoring of candidates."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrec.blockwise import Block, Blockwise, block_size
from jaxrec.errors import InputError
from jaxrec.fallback import Fallback, FoldIn, Sources
from jaxrec.hyper import Hyper, hyper_of
from jaxrec.models.model import Model, Pairwise, Params
from jaxrec.ranking import QueryRows, Ranker, Rows, rows_of, sources_of


@dataclass(frozen=True, eq=False)
class Fitted:
    """Model with its parameters, and the fallback for users it cannot score; None if it scores all users."""

    model: Model
    params: Params
    fallback: Fallback | None = None

    def members(self) -> tuple[Params, Hyper]:
        """Return parameters and hyperparameters as a population of one member."""
        on = np if jax.default_backend() == "cpu" else jnp  # a NumPy view avoids a copy on the host
        return jax.tree.map(lambda x: on.asarray(x)[None], (self.params, hyper_of(self.model)))

    def rank(self, query_rows: QueryRows, k: int, exclude_known: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Return the exact top-k items of each row and their scores [R, k], padded with -1."""
        ranked = Ranker(self.model, query_rows, k, exclude_known=exclude_known, fallback=self.fallback)(*self.members())
        _check_finite(self.model, ranked.finite[0])
        return np.asarray(ranked.items[0]), np.asarray(ranked.scores[0])

    def score(self, query_rows: QueryRows, items: np.ndarray) -> np.ndarray:
        """Return scores [R, C] of each row's candidates [R, C]; -inf for the padding -1."""
        scores, finite = _candidates(self.model, query_rows, items, self.fallback)(*self.members())
        _check_finite(self.model, finite[0])
        return np.asarray(scores[0])


def _candidates(model: Model, query_rows: QueryRows, items: np.ndarray, fallback: Fallback | None) -> Blockwise:
    """Return the program that scores candidates, a block of rows at a time."""
    sources, folds = sources_of(model, query_rows, fallback)
    floats = model.pair_floats if isinstance(model, Pairwise) else max(64, model.pair_floats)
    shared = rows_of(model, query_rows, folds), jnp.asarray(items, jnp.int32), sources
    block = block_size(len(items), items.shape[1], None, floats)
    return Blockwise(_score_member, (model, folds), shared, len(items), block)


def _score_member(
    models: tuple[Model, Model | None],
    shared: tuple[Rows, Int[Array, "R C"], Sources | None],
    params: Params,
    hyper: Hyper,
) -> Block:
    """Return the function that scores the candidates of a block of rows for one member."""
    rows_data, candidates, sources = shared
    model, folds = rows_data.members(models, hyper)

    def score_block(rows: Int[Array, "B"]) -> tuple[Float[Array, "B C"], Bool[Array, ""]]:
        items = candidates[rows]
        some = jnp.maximum(items, 0)
        scores = model.bind(params)(rows_data.query(rows, model.history_length), some)
        finite = jnp.isfinite(scores).all()
        if sources is not None:
            fold_in = None if folds is None else FoldIn.pairs(folds, params, some)
            scores = sources.blended(rows, scores, some, rows_data.query, fold_in)
        return jnp.where(items < 0, -jnp.inf, scores), finite

    return score_block


def _check_finite(model: Model, finite: Array | np.bool_) -> None:
    if not finite:
        raise InputError(f"{type(model).__name__} returned non-finite scores: train it again")
