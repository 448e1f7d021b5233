"""Nearest items by an inverted index, for catalogs too large to rank whole: `pip install 'jaxrec[ann]'`.

Items are dealt to lists by k-means of their vectors; of each query only the nearest lists are searched.
[Johnson, Douze and Jégou 2019, Billion-scale similarity search with GPUs]
"""

import dataclasses

import jax
import numpy as np

from jaxrec.errors import InputError
from jaxrec.models.model import Factorized, Model, Params
from jaxrec.ranking import QueryRows, query_of

ROWS_AT_A_TIME = 1024


class Index:
    """Of the item vectors of a model that has them: score(u, i) = <q_u, v_i>."""

    def __init__(self, model: Model, params: Params, *, lists: int, probes: int) -> None:
        try:
            import faiss
        except ImportError as error:
            raise InputError("candidates.search=faiss needs faiss: pip install 'jaxrec[ann]'") from error
        if not isinstance(model, Factorized):
            raise InputError(
                f"candidates.search=faiss searches vectors of items, and {type(model).__name__} has none: "
                "choose candidates=exact"
            )
        vectors = np.ascontiguousarray(model.bind(params).item_vectors(), np.float32)
        n_items, width = vectors.shape
        if lists > n_items:
            raise InputError(f"candidates.lists={lists} is more than the {n_items} items of the catalog")
        self._query = jax.jit(lambda query: model.bind(params).query_vectors(query))
        self.model, self.n_items = model, n_items
        self._quantizer = faiss.IndexFlatIP(width)  # kept: the index only points to it
        self._index = faiss.IndexIVFFlat(self._quantizer, width, lists, faiss.METRIC_INNER_PRODUCT)
        self._index.cp.min_points_per_centroid = 1
        self._index.train(vectors)
        self._index.add(vectors)
        self._index.nprobe = min(probes, lists)

    def search(self, asked: QueryRows, n: int, exclude_known: bool) -> np.ndarray:
        """The n best items of each row among those searched, [R, n], without what is masked; -1 behind the last."""
        n_rows = len(asked.users)
        offsets, known = asked.masked if exclude_known and asked.masked else (np.zeros(n_rows + 1, np.int64), None)
        found = np.full((n_rows, n), -1, np.int32)
        for start in range(0, n_rows, ROWS_AT_A_TIME):
            rows = slice(start, min(start + ROWS_AT_A_TIME, n_rows))
            part = dataclasses.replace(
                asked, users=asked.users[rows], start=asked.start[rows], end=asked.end[rows], masked=None
            )
            longest = int(np.diff(offsets)[rows].max(initial=0))
            wanted = min(self.n_items, n + longest)
            items = self._index.search(
                np.ascontiguousarray(self._query(query_of(self.model, part)), np.float32), wanted
            )[1]
            if known is not None:
                row = np.repeat(np.arange(len(items)), np.diff(offsets)[rows])
                mine = known[offsets[rows.start] : offsets[rows.stop]]
                width = np.int64(self.n_items)
                pairs = np.where(items < 0, -1, items + np.arange(len(items))[:, None] * width)
                items = np.where(np.isin(pairs, mine + row * width), -1, items)
            items = np.take_along_axis(items, np.argsort(items < 0, axis=1, kind="stable"), 1)
            found[rows, : items.shape[1]] = items[:, :n]
        return found
