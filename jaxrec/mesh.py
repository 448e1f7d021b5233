"""Mesh of devices: members of a population, examples of a batch, and rows of tables are split over its three axes.

Programs run separately for each part of the axes "member" and "batch" (`jax.shard_map`). The axis "row" is left to
XLA: tables are stored in parts of rows, code reads them as if they were whole, and the compiler exchanges the rows that
a batch looks up. Parts have equal numbers of rows, so tables are padded with rows that nothing reads.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PyTree
from pydantic import PositiveInt

from jaxrec import backend
from jaxrec.errors import InputError

MEMBER, BATCH, ROW = AXES = ("member", "batch", "row")

MIN_ROWS = 8  # rows per device; smaller tables are replicated, because splitting them saves nothing


class _Batch(NamedTuple):
    """Number of devices that share a batch, and of its examples on each of them."""

    n_devices: int
    n_examples: int


ALONE = _Batch(1, 0)

_batch: ContextVar[_Batch] = ContextVar("batch", default=ALONE)
_is_common: ContextVar[bool] = ContextVar("is_common", default=False)
_rows_over: ContextVar[int] = ContextVar("rows_over", default=1)


@dataclass(frozen=True)
class MeshSize:
    """Number of devices along each axis of the mesh.

    Attributes:
        member: devices over which the members of a population are distributed; auto: as many as there are
        batch: devices over which each batch is split; auto: those that no member uses, for sequence models only
        row: devices over which rows are split: of embedding tables, of their optimizer state, and of the catalog
            while ranking
    """

    member: PositiveInt | Literal["auto"] = "auto"
    batch: PositiveInt | Literal["auto"] = "auto"
    row: PositiveInt = 1


def check_batch(batch_size: int, n_devices: int | Literal["auto"]) -> None:
    """Raise an InputError for a batch that cannot be split evenly over this many devices."""
    if n_devices != "auto" and batch_size % n_devices:
        raise InputError(f"trainer.batch_size={batch_size} must be a multiple of trainer.mesh.batch={n_devices}")


def mesh(member: int, batch: int, row: int) -> Mesh:
    """The first devices as a mesh of this size."""
    devices = np.array(backend.devices()[: member * batch * row])
    return Mesh(devices.reshape(member, batch, row), AXES)


def manual(mesh: Mesh) -> set[str]:
    """Axes for which a program is written per device; the axis "row" is left to the compiler if tables are split."""
    return set(AXES) if mesh.shape[ROW] == 1 else {MEMBER, BATCH}


@contextmanager
def batch_shared_by(n_devices: int, n_examples: int) -> Iterator[None]:
    """Trace a program whose batches are shared by this many devices, with so many examples on each."""
    token = _batch.set(_Batch(n_devices, n_examples))
    try:
        yield
    finally:
        _batch.reset(token)


@contextmanager
def common_to_batch() -> Iterator[None]:
    """Look up rows that are the same for all examples of a batch, e.g. of negatives that they share."""
    token = _is_common.set(True)
    try:
        yield
    finally:
        _is_common.reset(token)


def is_per_example(ids: Array) -> bool:
    """Whether ids that are looked up are those of the examples on this device, one row each."""
    return not _is_common.get() and ids.ndim > 0 and ids.shape[0] == _batch.get().n_examples


def sum_over_batch(tree: PyTree) -> PyTree:
    """Sums over the devices that share a batch."""
    return jax.lax.psum(tree, BATCH) if _batch.get().n_devices > 1 else tree


def whole_batch(x: Array) -> Array:
    """Values of all examples of a batch [B, ...], from those on this device."""
    return jax.lax.all_gather(x, BATCH, tiled=True) if _batch.get().n_devices > 1 else x


def places_in_batch(n: int) -> Int[Array, "n"]:
    """Places of the `n` examples of this device in the batch."""
    own = jnp.arange(n, dtype=jnp.int32)
    return jax.lax.axis_index(BATCH) * n + own if _batch.get().n_devices > 1 else own


def map_over_batch(f: Callable[[PyTree], PyTree], xs: PyTree) -> PyTree:
    """`jax.lax.map(f, xs)`; each device that shares the batch computes a part, and all of them get all results."""
    n = len(jax.tree.leaves(xs)[0])
    share = -(-n // _batch.get().n_devices)
    results = jax.lax.map(lambda place: f(jax.tree.map(lambda x: x[place], xs)), places_in_batch(share))
    return jax.tree.map(lambda x: whole_batch(x)[:n], results)


@contextmanager
def rows_over(n_devices: int) -> Iterator[None]:
    """Rank with tables and catalog split over this many devices."""
    token = _rows_over.set(n_devices)
    try:
        yield
    finally:
        _rows_over.reset(token)


def row_devices() -> int:
    """Number of devices over which rows are split while ranking."""
    return _rows_over.get()


def padded(tree: PyTree, n_devices: int, axis: int = 0) -> PyTree:
    """Parameters or optimizer states whose tables have the same number of rows on each device; padding is zero."""

    def pad(path: tuple[object, ...], x: Array) -> Array:
        if not _is_split(path, x, n_devices, axis) or x.shape[axis] % n_devices == 0:
            return x
        widths = [(0, -x.shape[axis] % n_devices if own == axis else 0) for own in range(x.ndim)]
        return (jnp if isinstance(x, jax.Array) else np).pad(x, widths)

    return tree if n_devices == 1 else jax.tree_util.tree_map_with_path(pad, tree)


def trimmed(tree: PyTree, like: PyTree) -> PyTree:
    """Inverse of `padded`, from arrays of the original shapes."""
    return jax.tree.map(lambda x, y: x if x.shape == y.shape else x[: y.shape[0]], tree, like)


def split(tree: PyTree, n_devices: int) -> PyTree:
    """Inside a program: keep the rows of the tables of one member split over devices."""

    def keep(path: tuple[object, ...], x: Array) -> Array:
        return jax.lax.with_sharding_constraint(x, PartitionSpec(ROW)) if _is_split(path, x, n_devices) else x

    return tree if n_devices == 1 else jax.tree_util.tree_map_with_path(keep, tree)


def put_members(tree: PyTree, mesh: Mesh) -> PyTree:
    """Put values with a leading member axis on the devices of a mesh, each member and row in its place."""
    n_devices = mesh.shape[ROW]

    def sharding(path: tuple[object, ...], x: Array) -> NamedSharding:
        rows = (ROW,) if _is_split(path, x, n_devices, 1) else ()
        return NamedSharding(mesh, PartitionSpec(MEMBER, *rows))

    tree = padded(tree, n_devices, 1)
    return backend.put(tree, jax.tree_util.tree_map_with_path(sharding, tree))


def _is_split(path: tuple[object, ...], x: Array, n_devices: int, axis: int = 0) -> bool:
    """Whether a leaf is a table, or the optimizer's state of one, with enough rows."""
    names = {getattr(key, "key", getattr(key, "name", None)) for key in path}
    if n_devices == 1 or not names & {"table", "tables"}:
        return False
    return x.ndim > axis and x.shape[axis] >= MIN_ROWS * n_devices
