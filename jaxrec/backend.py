"""Devices that programs are built for, and every choice that depends on their platform.

Programs are built for the devices of this process. Inside `built_for` they are built for other devices, which may be
absent (`jax.experimental.topologies`): arrays are replaced by their shapes, and programs can be compiled, not run.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding
from jaxtyping import PyTree


class Choices(NamedTuple):
    """Choices of one platform. Results do not depend on them, up to rounding.

    Attributes:
        train_sequential: members of a device take turns in a loop while they train; else they are vmapped
        rank_sequential: the same while they are ranked and measured
        encode_block: positions of sequences encoded at a time; None: the whole batch, without sorting windows by length
        loss_block: scores of positions and items, of a sequence loss, computed at a time by all members of a device; a
            CPU scores blocks of positions that stay in the cache
        solve_block: numbers in the vectors of interactions of rows that are solved at a time, by least squares
        rank_block: scores of a block of rows while ranking, per member
        top_k: how `jaxrec.top_k` selects: "lax" by `lax.top_k`, "groups" with few sorts, "maxima" without a sort
        tiled: pairs of models that do not factorize are scored in tiles of items, see `jaxrec.pairs`
        branches: decisions that depend on data are branches and loops, which a CPU can leave early; elsewhere they
            would make the device wait for the host
        compiler_options: options of the compiler
    """

    train_sequential: bool
    rank_sequential: bool
    encode_block: int | None
    loss_block: int
    solve_block: int
    rank_block: int
    top_k: Literal["lax", "groups", "maxima"]
    tiled: bool
    branches: bool
    compiler_options: Mapping[str, object] = MappingProxyType({})


CHOICES = {
    # Blocks that stay in a core's cache; a vmapped member would not train to the same bits as alone.
    "cpu": Choices(
        train_sequential=True,
        rank_sequential=True,
        encode_block=1_600,
        loss_block=0,
        solve_block=1 << 18,
        rank_block=1 << 21,
        top_k="maxima",
        tiled=True,
        branches=True,
    ),
    # Few large kernels: each takes microseconds to start, however small it is.
    "gpu": Choices(
        train_sequential=False,
        rank_sequential=False,
        encode_block=None,
        loss_block=1 << 27,
        solve_block=1 << 24,
        rank_block=1 << 21,  # the encoder of 64 sequence models needs some 10 GB besides these scores
        top_k="groups",
        tiled=False,
        branches=False,
        # Products by cuBLAS. Triton finds no tiles for products of reshaped windows of 50 or 200 positions, and on a
        # present device tries many, which takes most of the time to compile.
        compiler_options=MappingProxyType({"xla_gpu_enable_triton_gemm": False}),
    ),
    "tpu": Choices(
        # Vmapped, 64 members of MF take as long by prediction, twice the memory, and minutes to compile.
        train_sequential=True,
        rank_sequential=False,
        encode_block=None,
        loss_block=1 << 26,
        solve_block=1 << 22,
        rank_block=1 << 20,
        top_k="lax",  # a kernel of its own, where a sort takes ten seconds to compile
        tiled=False,
        branches=False,
    ),
}

_target: ContextVar[tuple[jax.Device, ...] | None] = ContextVar("target", default=None)
_is_local: ContextVar[bool] = ContextVar("is_local", default=False)
_members: ContextVar[int] = ContextVar("members", default=1)


@contextmanager
def built_for(devices: Sequence[jax.Device]) -> Iterator[None]:
    """Build programs for these devices instead of those of this process."""
    jax.clear_caches()  # functions that were traced for other devices
    token = _target.set(tuple(devices))
    try:
        yield
    finally:
        _target.reset(token)
        jax.clear_caches()


@contextmanager
def at_once(n_members: int) -> Iterator[None]:
    """Trace a program that a device runs for this many members at once, whose blocks share its memory."""
    token = _members.set(n_members)
    try:
        yield
    finally:
        _members.reset(token)


def block(total: int, width: int) -> int:
    """Rows of this width per member that make blocks of at most `total` numbers for all members of a device."""
    return max(1, total // (_members.get() * width))


@contextmanager
def locally() -> Iterator[None]:
    """Build programs for the devices of this process alone, of all processes of a run."""
    token = _is_local.set(True)
    try:
        yield
    finally:
        _is_local.reset(token)


def devices() -> Sequence[jax.Device]:
    """The devices that programs are built for."""
    return _target.get() or (jax.local_devices() if _is_local.get() else jax.devices())


def device_count() -> int:
    """Number of devices that programs are built for."""
    return len(devices())


def platform() -> str:
    """Platform of these devices: cpu, gpu or tpu."""
    name = devices()[0].platform
    return {"cuda": "gpu", "rocm": "gpu"}.get(name, name)


def memory() -> float:
    """Bytes that programs can use on each device of this process; infinite if the device does not report it."""
    return float((jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", "inf"))


def choices() -> Choices:
    """Choices of this platform; an unknown one is treated as a GPU."""
    return CHOICES.get(platform(), CHOICES["gpu"])


def target() -> Hashable:
    """All that a program depends on besides its own definition: the devices and the choices of their platform."""
    chosen = choices()
    return tuple(devices()), chosen._replace(compiler_options=tuple(chosen.compiler_options.items()))  # type: ignore[arg-type]


def is_out_of_memory(error: Exception) -> bool:
    """Whether a program failed because a device has too little memory."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


def put(tree: PyTree, sharding: PyTree) -> PyTree:
    """Copy arrays to the devices of a sharding, or of one for each array; absent devices get the arrays' shapes."""
    if _target.get() is None and jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    shardings = jax.tree.map(lambda _: sharding, tree) if isinstance(sharding, NamedSharding) else sharding
    if _target.get() is None:
        return jax.tree.map(_put_everywhere, tree, shardings)
    return jax.tree.map(lambda x, own: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=own), tree, shardings)


def _put_everywhere(x: jax.Array | np.ndarray, sharding: NamedSharding) -> jax.Array:
    """Put an array that every process has, or that lies on the devices of all, on these devices."""
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        return x if x.sharding == sharding else jax.jit(lambda x: x, out_shardings=sharding)(x)
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_put_everywhere(jax.random.key_data(x), sharding))
    host = np.asarray(x)
    return jax.make_array_from_callback(host.shape, sharding, lambda part: host[part])


def together(tree: PyTree) -> PyTree:
    """On a CPU, copy arrays to one device of this process, without waiting for them; elsewhere, leave them in place.

    Programs that follow then run on one device. XLA runs the steps of a CPU program that do not depend on each other in
    any order. If two of them exchange values between devices, one device may begin with the first and another with the
    second, and both wait forever.
    """
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return tree

    def joined(x: jax.Array) -> jax.Array:
        if not x.is_fully_addressable:
            return jax.device_put(to_host(x), device)
        parts = {shard_start(shard): jax.device_put(shard.data, device) for shard in x.addressable_shards}
        return _joined(parts)

    return jax.tree.map(joined, tree)


def shard_start(shard: jax.Shard) -> tuple[int, ...]:
    """Index of the first element of a shard in the whole array."""
    return tuple(part.start or 0 for part in shard.index)


def _joined(parts: Mapping[tuple[int, ...], jax.Array], axis: int = 0) -> jax.Array:
    """Join the parts of an array, given by the index of the first element of each."""
    if len(parts) == 1:
        return next(iter(parts.values()))
    starts = sorted({place[axis] for place in parts})
    along = [_joined({place: x for place, x in parts.items() if place[axis] == start}, axis + 1) for start in starts]
    return along[0] if len(along) == 1 else jnp.concatenate(along, axis)


def to_host(tree: PyTree) -> PyTree:
    """Arrays on the host; all processes take part in collecting those that are distributed over processes."""

    def copied(x: jax.Array | np.ndarray) -> np.ndarray:
        if not isinstance(x, jax.Array) or x.is_fully_addressable or x.is_fully_replicated:
            return np.asarray(x)
        return np.asarray(multihost_utils.process_allgather(x, tiled=True))

    return jax.tree.map(copied, tree)
