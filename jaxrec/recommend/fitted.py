"""A model with the parameters of one run: the best items of rows of users, and scores of given candidates."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrec.blockwise import Block, Blockwise, block_size
from jaxrec.errors import InputError
from jaxrec.fallback import Fallback, FoldIn, Sources
from jaxrec.hyper import Hyper
from jaxrec.models.fold_in import fields
from jaxrec.models.model import Model, Pairwise, Params
from jaxrec.ranking import QueryRows, Ranker, Rows, rows_of, sources_of


@dataclass(frozen=True, eq=False)
class Fitted:
    """A model with its parameters, and what answers for users it knows nothing of; None: it answers for all."""

    model: Model
    params: Params
    fallback: Fallback | None = None

    def members(self) -> tuple[Params, Hyper]:
        """As a population of one; its numbers are in the module already."""
        own, absent = fields(self.model), Hyper._field_defaults
        numbers: dict[str, Any] = {name: own.get(name, absent.get(name, 0)) for name in Hyper._fields}
        on = np if jax.default_backend() == "cpu" else jnp  # NumPy's view of what is in memory is no copy
        return jax.tree.map(lambda x: on.asarray(x)[None], (self.params, Hyper(**numbers)))

    def rank(self, asked: QueryRows, k: int, exclude_known: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """The k best items of each row, and their scores, [R, k], exactly; -1 behind the last."""
        ranked = Ranker(self.model, asked, k, exclude_known=exclude_known, fallback=self.fallback)(*self.members())
        _check_finite(self.model, ranked.finite[0])
        return np.asarray(ranked.items[0]), np.asarray(ranked.scores[0])

    def score(self, asked: QueryRows, items: np.ndarray) -> np.ndarray:
        """Scores [R, C] of each row's candidates [R, C]; -inf for -1."""
        scores, finite = _Candidates(self.model, asked, items, self.fallback).stream(*self.members())
        _check_finite(self.model, finite[0])
        return np.asarray(scores[0])


class _Candidates:
    """Scores given candidates, a block of rows at a time."""

    def __init__(self, model: Model, asked: QueryRows, items: np.ndarray, fallback: Fallback | None) -> None:
        self.model, self.n_rows = model, len(items)
        sources, self.folds = sources_of(model, asked, fallback)
        self.block = block_size(
            self.n_rows, items.shape[1], None, model.pair_floats if isinstance(model, Pairwise) else 64
        )
        self.length = model.history_length
        shared = rows_of(model, asked, self.folds), jnp.asarray(items, jnp.int32), sources
        self.stream = Blockwise(self.member, shared, self.n_rows, self.block)

    def member(self, shared: tuple[Rows, Int[Array, "R C"], Sources | None], params: Params, hyper: Hyper) -> Block:
        """One member's scores of a block."""
        asked, candidates, sources = shared
        model = asked.member(self.model, hyper)
        folds = None if self.folds is None else asked.member(self.folds, hyper)

        def score_block(first_row: Int[Array, ""]) -> tuple[Float[Array, "B C"], Bool[Array, ""]]:
            rows = jnp.minimum(first_row + jnp.arange(self.block), self.n_rows - 1)
            items = candidates[rows]
            some = jnp.maximum(items, 0)
            scores = model.bind(params)(asked.query(rows, self.length), some)
            finite = jnp.isfinite(scores).all()
            if sources is not None:
                fold_in = None if folds is None else FoldIn.pairs(folds, params, some)
                scores = sources.blended(rows, scores, some, asked.query, fold_in)
            return jnp.where(items < 0, -jnp.inf, scores), finite

        return score_block


def _check_finite(model: Model, finite: np.bool_) -> None:
    if not finite:
        raise InputError(f"{type(model).__name__} gives scores that are not finite; train it again")
