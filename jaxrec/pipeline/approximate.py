"""Approximate nearest-neighbor search with an inverted index (IVF), for large catalogs: `pip install 'jaxrec[ann]'`.

Items are assigned to lists by k-means of their vectors; each query searches only its nearest lists.
[Johnson, Douze and Jégou 2019, Billion-scale similarity search with GPUs]
"""

import dataclasses
from functools import partial

import numpy as np
from jaxtyping import Array

from jaxrec import programs
from jaxrec.blockwise import slices
from jaxrec.errors import InputError
from jaxrec.models.model import Factorized, Model, Params, has_dot_products
from jaxrec.query import Query
from jaxrec.ranking import QueryRows, query_of

ROWS_AT_A_TIME = 1024


class Index:
    """Inverted index of the item vectors of a factorized model: score(u, i) = <q_u, v_i>.

    Args:
        model: a model whose scores are dot products.
        params: its parameters.
        lists: number of lists (k-means clusters).
        probes: number of lists searched per query.

    Raises:
        InputError: faiss is not installed, the model has no item vectors, or there are more lists than items.
    """

    def __init__(self, model: Model, params: Params, *, lists: int, probes: int) -> None:
        try:
            import faiss
        except ImportError as error:
            raise InputError("candidates.search=faiss needs faiss: pip install 'jaxrec[ann]'") from error
        if not has_dot_products(model):
            raise InputError(
                f"candidates.search=faiss needs scores that are dot products, which those of {type(model).__name__} "
                "are not: set candidates=exact"
            )
        vectors = np.ascontiguousarray(model.bind(params).item_vectors(), np.float32)
        n_items, width = vectors.shape
        if lists > n_items:
            raise InputError(f"candidates.lists={lists}: must be at most {n_items}, the catalog size")
        self._program = programs.jit(partial(_query_vectors, model))
        self.model, self.n_items, self._params = model, n_items, params
        self._quantizer = faiss.IndexFlatIP(width)  # kept alive: the index only holds a pointer
        self._index = faiss.IndexIVFFlat(self._quantizer, width, lists, faiss.METRIC_INNER_PRODUCT)
        self._index.cp.min_points_per_centroid = 1
        self._index.train(vectors)
        self._index.add(vectors)
        self._index.nprobe = min(probes, lists)

    def search(self, query_rows: QueryRows, n: int, exclude_known: bool) -> np.ndarray:
        """Return the approximate top-n items of each row [R, n], without masked items, padded with -1."""
        n_rows = len(query_rows.users)
        offsets, known = (
            query_rows.masked if exclude_known and query_rows.masked else (np.zeros(n_rows + 1, np.int64), None)
        )
        best = np.full((n_rows, n), -1, np.int32)
        for rows in slices(n_rows, ROWS_AT_A_TIME):
            part = dataclasses.replace(
                query_rows,
                users=query_rows.users[rows],
                start=query_rows.start[rows],
                end=query_rows.end[rows],
                masked=None,
            )
            longest = int(np.diff(offsets)[rows].max(initial=0))
            n_search = min(self.n_items, n + longest)
            items = self._index.search(
                np.ascontiguousarray(self._program(self._params, query_of(self.model, part)), np.float32), n_search
            )[1]
            if known is not None:
                row = np.repeat(np.arange(len(items)), np.diff(offsets)[rows])
                masked = known[offsets[rows.start] : offsets[rows.stop]]
                width = np.int64(self.n_items)
                pairs = np.where(items < 0, -1, items + np.arange(len(items))[:, None] * width)
                items = np.where(np.isin(pairs, masked + row * width), -1, items)
            items = np.take_along_axis(items, np.argsort(items < 0, axis=1, kind="stable"), 1)
            best[rows, : items.shape[1]] = items[:, :n]
        return best


def _query_vectors(model: Factorized, params: Params, query: Query) -> Array:
    return model.bind(params).query_vectors(query)
