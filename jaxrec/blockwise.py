"""Blockwise evaluation of rows: for every member of a population on all devices, or by one program of a fixed shape."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Int, PyTree

from jaxrec import backend, programs
from jaxrec.hyper import Hyper, zeroed
from jaxrec.mesh import BATCH, MEMBER, manual, mesh, put_members, row_devices, rows_over

Block = Callable[[Int[Array, "B"]], tuple[PyTree, Bool[Array, ""]]]


def block_size(n_rows: int, n_items: int, block: int | None = None, floats: int = 1) -> int:
    """Rows per block, at most `block` or `Choices.rank_block` scores, such that blocks and devices have equal loads.

    Args:
        n_rows: number of rows.
        n_items: scores per row.
        block: maximum number of rows; None: as many as fit into `Choices.rank_block`.
        floats: floats allocated per score; above 1 for models that do not factorize.
    """
    share = -(-n_rows // (backend.device_count() // row_devices()))
    n_items = -(-n_items // row_devices())
    most = block or max(1, 8 // floats, backend.choices().rank_block // (n_items * floats))
    n_blocks = -(-share // most)
    return -(-share // n_blocks)


def map_members(f: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """Return a function of stacked arguments [P, ...] that applies `f` to every member; call it in a jitted function.

    On accelerators `f` is vmapped. On a CPU, where the last digits of vectorized functions depend on the number of
    members, they are computed one after another.
    """
    if not backend.choices().rank_sequential:
        return jax.vmap(f)
    return lambda *members: jax.lax.map(lambda member: f(*member), members)


class Blockwise:
    """Evaluates `n_rows` rows in blocks for every member; compiled at the first call.

    `member(models, shared, params, hyper)` returns a function of a block's row numbers [block], which computes a pytree
    of [block, ...] arrays and whether all scores are finite. The last block repeats the last row, which is cut off.
    Members are distributed over as many devices as divide them evenly, rows over the remaining ones, and tables over
    as many as `mesh.row_devices` returned when this was built; those of a device are computed one after another on a
    CPU, vmapped on accelerators. Memory: one block per device, on accelerators one per member; on a CPU all devices
    share the parameters on the host without copies.

    Args:
        member: the computation of one member; with the models, the definition of the program, see `jaxrec.programs`.
        models: models that it uses; `hyper` replaces their numbers.
        shared: arrays that all members read.
        n_rows: number of rows.
        block: rows at a time.
    """

    def __init__(
        self, member: Callable[..., Block], models: tuple[object, ...], shared: PyTree, n_rows: int, block: int
    ) -> None:
        self.member, self.models, self.shared = member, models, shared
        self.n_rows, self.block = n_rows, block
        self.rows_over = row_devices()
        self._programs: dict[int, tuple[Callable[..., PyTree], Callable[..., PyTree]]] = {}

    def __call__(
        self, params: PyTree, hyper: Hyper, active: Bool[np.ndarray, "P"] | None = None
    ) -> tuple[PyTree, Bool[Array, "P"]]:
        """Arrays [P, R, ...] and whether each member is finite [P], from parameters with a leading member axis.

        The values of members that are not `active` are meaningless. On a CPU the arrays lie on one device.
        """
        n_members = len(jax.tree.leaves((params, hyper))[0])
        if n_members not in self._programs:
            self._programs[n_members] = self.compile(n_members, hyper)
        program, put = self._programs[n_members]
        active = np.ones(n_members, bool) if active is None else active
        return backend.together(program(*put(params, hyper, active)))

    def compile(self, n_members: int, hyper: Hyper) -> tuple[Callable[..., PyTree], Callable[..., PyTree]]:
        """The jitted program, and the function that puts its arguments on the devices."""
        n_devices = backend.device_count() // self.rows_over
        over_members = max(d for d in range(1, n_devices + 1) if n_devices % d == 0 and n_members % d == 0)
        over_rows = n_devices // over_members
        layout = Layout(n_members, over_members, over_rows, self.rows_over, self.n_rows, self.block)
        models = tuple(model and zeroed(model, hyper.of("model")) for model in self.models)
        shared = backend.put(self.shared, NamedSharding(layout.mesh, PartitionSpec()))

        def put(*members: PyTree) -> PyTree:
            return shared, *put_members(members, layout.mesh)

        return programs.jit(partial(layout.evaluate, self.member, models)), put


@dataclass(frozen=True)
class Layout:
    """Distribution of members and rows over devices.

    Attributes:
        n_members: number of members
        over_members, over_rows: devices among which members, and the rows of a member, are divided
        over_tables: devices among which the rows of tables are divided
        n_rows, block: number of rows, and rows at a time
    """

    n_members: int
    over_members: int
    over_rows: int
    over_tables: int
    n_rows: int
    block: int

    @property
    def mesh(self) -> Mesh:
        """The devices."""
        return mesh(self.over_members, self.over_rows, self.over_tables)

    def evaluate(
        self,
        member: Callable[..., Block],
        models: tuple[object, ...],
        shared: PyTree,
        params: PyTree,
        hyper: Hyper,
        active: Array,
    ) -> tuple[PyTree, Bool[Array, "P"]]:
        """Evaluate all rows of all members; see `Blockwise`."""
        # Every device gets the same number of blocks; padding blocks repeat the first ones and are cut off.
        starts = np.arange(0, self.n_rows, self.block)
        n_blocks = -(-len(starts) // self.over_rows) * self.over_rows
        first_rows = jnp.asarray(np.resize(starts, n_blocks), jnp.int32)

        def local(shared: PyTree, first_rows: Array, params: PyTree, hyper: PyTree, active: Array) -> PyTree:
            def of_active(params: PyTree, hyper: PyTree) -> PyTree:
                with rows_over(self.over_tables):
                    block, places = member(models, shared, params, hyper), jnp.arange(self.block)
                    return jax.lax.map(lambda first: block(jnp.minimum(first + places, self.n_rows - 1)), first_rows)

            def of_member(member: PyTree) -> PyTree:
                params, hyper, is_active = member
                shapes = jax.eval_shape(of_active, params, hyper)
                zeros = lambda *_: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)  # noqa: E731
                return jax.lax.cond(is_active, of_active, zeros, params, hyper)

            members = params, hyper, active
            if self.n_members > self.over_members and not backend.choices().rank_sequential:
                return jax.vmap(of_active)(params, hyper)
            if self.n_members > self.over_members:
                return jax.lax.map(of_member, members)
            alone = of_member(jax.tree.map(lambda x: x[0], members))  # a loop would copy the parameters
            return jax.tree.map(lambda x: x[None], alone)

        P = PartitionSpec
        streamed = jax.shard_map(
            local,
            mesh=self.mesh,
            in_specs=(P(), P(BATCH), P(MEMBER), P(MEMBER), P(MEMBER)),
            out_specs=P(MEMBER, BATCH),
            axis_names=manual(self.mesh),
            check_vma=False,
        )
        rows, finite = streamed(shared, first_rows, params, hyper, active)
        flat = lambda x: x.reshape(self.n_members, n_blocks * self.block, *x.shape[3:])[:, : self.n_rows]  # noqa: E731
        return jax.tree.map(flat, rows), jnp.all(finite, axis=1)


def slices(n_rows: int, size: int) -> Iterator[slice]:
    """Blocks of at most `size` rows, in order."""
    return (slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size))


def in_blocks(program: Callable[[Int[np.ndarray, "B"]], PyTree], n_rows: int, size: int) -> PyTree:
    """Call a program of `size` row numbers until all rows are computed; return its outputs [R, ...] on the host.

    Every call has the same shape, because sums of other shapes differ in their last digits: the last block repeats the
    last row, which is cut off. `n_rows` must be at least 1.
    """
    parts = []
    for start in range(0, n_rows, size):
        outputs = program(np.minimum(start + np.arange(size), n_rows - 1))
        parts.append(jax.tree.map(lambda x, n=n_rows - start: np.asarray(x)[:n], outputs))
    return jax.tree.map(lambda *columns: np.concatenate(columns), *parts)
