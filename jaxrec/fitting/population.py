"""Placement of a population's members: distributed over devices, and vmapped or sequential on each."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxrec import backend
from jaxrec.errors import InputError
from jaxrec.hyper import Hyper
from jaxrec.mesh import MEMBER, MeshSize, manual, mesh, padded, put_members, split

Members = Literal["auto", "vmap", "sequential"]

MAX_SLOTS = 64


class Population(NamedTuple):
    """Seeds [P] and hyperparameters, each [P], of the members.

    Attributes:
        later: hyperparameters from these epochs on, counted from 1, for members whose numbers change
    """

    seeds: np.ndarray
    hyper: Hyper
    later: Mapping[int, Hyper] = {}

    @property
    def size(self) -> int:
        """Number of members, P."""
        return len(self.seeds)

    @classmethod
    def joined(cls, parts: Sequence["Population"]) -> "Population":
        """Return the members of several populations of one program as one population."""
        return jax.tree.map(lambda *x: np.concatenate(x), *parts)

    def hyper_of(self, member: int) -> Hyper:
        """Hyperparameters of one member."""
        return jax.tree.map(lambda x: x[member], self.hyper)

    def at(self, epochs: Sequence[int]) -> Hyper:
        """Hyperparameters [P] of each member in one of its epochs."""
        if not self.later:
            return self.hyper
        steps = {0: self.hyper, **self.later}
        latest = [steps[max(first for first in steps if first <= epoch)] for epoch in epochs]
        rows = [jax.tree.map(lambda x: x[member], hyper) for member, hyper in enumerate(latest)]  # noqa: B023
        return jax.tree.map(lambda *x: np.stack(x), *rows)


@dataclass(frozen=True)
class Placement:
    """Distribution of members over `n_devices`; on each device they are vmapped or run sequentially.

    Attributes:
        n_batch_devices: number of devices over which the batches of each member are split
        n_row_devices: number of devices over which the rows of tables are split
    """

    n_members: int
    n_devices: int
    sequential: bool
    n_batch_devices: int = 1
    n_row_devices: int = 1

    @property
    def per_device(self) -> int:
        """Slots per device; some may stay free."""
        return -(-self.n_members // self.n_devices)

    @property
    def n_slots(self) -> int:
        """Slots of all devices."""
        return self.per_device * self.n_devices

    def __str__(self) -> str:
        how = "sequential" if self.sequential else "vmapped"
        split = f", batches split over {self.n_batch_devices}" if self.n_batch_devices > 1 else ""
        split += f", tables split over {self.n_row_devices}" if self.n_row_devices > 1 else ""
        n = self.n_devices * self.n_batch_devices * self.n_row_devices
        devices = f"{n} {backend.platform()} device{'s' if n > 1 else ''}"
        members = f"{self.n_members} member{'s' if self.n_members > 1 else ''}"
        return f"{members} on {devices}, {self.per_device} on each, {how}{split}"

    @property
    def mesh(self) -> Mesh:
        """The devices in use."""
        return mesh(self.n_devices, self.n_batch_devices, self.n_row_devices)

    def put(self, members: PyTree) -> PyTree:
        """Put each slot's values [S, ...] on its device, and the rows of its tables on theirs."""
        return put_members(members, self.mesh)

    def part(self, tree: PyTree, device: int) -> PyTree:
        """The values of the slots of one device, where they are; tables must not be split by rows."""
        first = device * self.per_device

        def own(x: jax.Array) -> jax.Array:
            return next(shard.data for shard in x.addressable_shards if backend.shard_start(shard)[0] == first)

        return jax.tree.map(own, tree)

    def padded(self, tree: PyTree) -> PyTree:
        """Values of one member, with tables padded to the same number of rows on each device."""
        return padded(tree, self.n_row_devices)

    def replicate(self, data: PyTree) -> PyTree:
        """Replicate the data on every device; the devices of a CPU share one copy, which may be a memory map."""
        if backend.platform() == "cpu":
            data = jax.tree.map(np.asarray, data)
        return backend.put(data, NamedSharding(self.mesh, PartitionSpec()))

    def map(self, f: Callable[..., PyTree]) -> Callable[..., PyTree]:
        """Turn `f(shared, *member)` for one member into a function of the stacked values of all slots.

        Tables in the result of `f` are padded and split by rows. The function depends on the slots, not on how many of
        them have members.
        """
        return partial(replace(self, n_members=self.n_slots)._sharded, f)

    def _sharded(self, f: Callable[..., PyTree], shared: PyTree, *members: PyTree) -> PyTree:
        def spread(shared: PyTree, *member: PyTree) -> PyTree:
            return split(padded(f(shared, *member), self.n_row_devices), self.n_row_devices)

        def local(shared: PyTree, *members: PyTree) -> PyTree:
            if self.sequential:
                of_member = lambda _, member: (None, spread(shared, *member))  # noqa: E731
                return jax.lax.scan(of_member, None, members, length=self.per_device)[1]
            if self.per_device == 1:  # lookups and updates with a member axis of 1 are slower
                alone = spread(shared, *jax.tree.map(lambda x: x[0], members))
                return jax.tree.map(lambda x: x[None], alone)
            with backend.at_once(self.per_device):
                return jax.vmap(lambda *member: spread(shared, *member), axis_size=self.per_device)(*members)

        mapped = jax.shard_map(
            local,
            mesh=self.mesh,
            in_specs=(PartitionSpec(), *[PartitionSpec(MEMBER)] * len(members)),
            out_specs=PartitionSpec(MEMBER),
            axis_names=manual(self.mesh),
            check_vma=False,
        )
        return mapped(shared, *members)


def place(
    n_members: int,
    members: Members = "auto",
    split_batch: bool = False,
    batch_size: int | None = None,
    size: MeshSize = MeshSize(),  # noqa: B008
) -> Placement:
    """Place slots for up to `n_members` members on all devices.

    XLA optimizes a program for one device in another order than a program for several, and rounds differently. So that
    a single member trains to the same bits as one of many, it gets one of two slots on a CPU with several devices; the
    other stays free, which costs memory but no time.

    Args:
        n_members: number of members; larger populations take turns in `MAX_SLOTS` slots.
        members: members of a device run by "vmap", "sequential", or "auto": vmap on a GPU, else sequential; free slots
            then cost nothing on a CPU.
        split_batch: split batches evenly over devices that would otherwise be idle.
        batch_size: examples per step, which are only split into equal parts; None: any split will do.
        size: devices along each axis of the mesh.

    Raises:
        InputError: the mesh has more devices than there are.
    """
    n_slots = min(n_members, MAX_SLOTS)
    fixed = {axis: n for axis, n in vars(size).items() if n not in ("auto", 1)}
    if math.prod(fixed.values()) > backend.device_count():
        settings = " ".join(f"trainer.mesh.{axis}={n}" for axis, n in fixed.items())
        raise InputError(
            f"{settings} needs {math.prod(fixed.values())} devices, there are {backend.device_count()}: decrease them"
        )
    n_free = backend.device_count() // size.row
    n_devices = size.member if size.member != "auto" else min(n_free // fixed.get("batch", 1), n_slots)
    sequential = members == "sequential" or (members == "auto" and backend.choices().train_sequential)
    if size.batch != "auto":
        n_batch_devices = size.batch
    else:
        n_batch_devices = n_free // n_devices if split_batch else 1
        if batch_size is not None and batch_size % n_batch_devices:
            n_batch_devices = 1
    if backend.platform() == "cpu" and size == MeshSize() and n_devices * n_batch_devices == 1:
        n_devices = min(2, backend.device_count())
    placement = Placement(n_slots, n_devices, sequential, n_batch_devices, size.row)
    if jax.process_count() > 1 and placement.mesh.size != (n := backend.device_count()):
        raise InputError(
            f"a run of {jax.process_count()} processes must use all of their {n} devices, this one uses "
            f"{placement.mesh.size}: set trainer.mesh.batch={n}, trainer.mesh.row={n}, or a product of both"
        )
    return placement


def member_keys(seeds: np.ndarray) -> jax.Array:
    """One random key per member."""
    return jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
