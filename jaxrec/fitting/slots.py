"""Slots: a compiled program trains one epoch of all its slots, and a free slot takes the next member.

Between epochs the host decides for each slot whether its member goes on, ends, or makes room for another. Random
numbers depend on a member's seed and on positions in the data only, so a member's results depend neither on its slot
nor on the number of slots, its neighbors, or the time of its arrival.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PyTree

from jaxrec import backend, programs
from jaxrec.fitting.member import Member, Rules
from jaxrec.fitting.member_program import MemberProgram, Validate
from jaxrec.fitting.population import Placement, member_keys
from jaxrec.fitting.saved_slots import SavedMember
from jaxrec.hyper import Hyper
from jaxrec.machine import single_threaded_blas
from jaxrec.mesh import padded, trimmed
from jaxrec.models.model import Params


class Slots:
    """Slots of one compiled program.

    Args:
        program: how one member is trained.
        placement: distribution of the slots over devices.
        rules: when members are validated, and when they end.
        validate: computes validation metrics; None: a member's last finite parameters are kept.
        hyper: hyperparameters of any member, for their types.
        on_validated: called after each epoch with the slots of the members whose latest validation is their best.
    """

    def __init__(
        self,
        program: MemberProgram,
        placement: Placement,
        rules: Rules,
        validate: Validate | None,
        hyper: Hyper,
        on_validated: Callable[[Mapping[Member, int]], None] = lambda improved: None,
    ) -> None:
        started = time.perf_counter()
        self.program, self.placement, self.rules, self.validate = program, placement, rules, validate
        self.on_validated = on_validated
        self.occupants: list[Member | None] = [None] * placement.n_slots
        self.train_s = self.validate_s = 0.0
        self._is_waiting = False  # for the results of an epoch
        self._metrics: Mapping[str, np.ndarray | Array] | None = None
        self._is_new = np.zeros(placement.n_slots, bool)
        self._seeds = np.zeros(placement.n_slots, np.int64)
        self._hyper = jax.tree.map(lambda x: np.repeat(np.asarray(x)[None], placement.n_slots, axis=0), hyper)
        self._on_device: tuple[Array, Hyper] | None = None  # keys and hyperparameters of the slots
        self._compile()
        self.compile_s = time.perf_counter() - started

    def _compile(self) -> None:
        keys, hyper = self._arguments()
        shared, placement = self.program.shared, self.placement
        of_one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), (keys, hyper))
        self._shapes = programs.jit(self.program.start).eval_shape(shared, *of_one)
        shapes = programs.jit(placement.map(self.program.start)).eval_shape(shared, keys, hyper)
        self._states = placement.put(jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes))
        self._best = placement.put(jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes.params))
        self._refill = programs.jit(
            placement.map(partial(_refill, self.program.start, placement.n_row_devices)), donate_argnums=(1, 2)
        )
        epoch = programs.jit(placement.map(self.program.epoch), donate_argnums=1)
        self._epoch = epoch.lower(shared, self._states, hyper, self._is_new).compile()
        self._choose = programs.jit(_choose, donate_argnums=2)
        self._take = programs.jit(_take)
        self._write = programs.jit(_write, donate_argnums=0)
        # Compiled here, not at first use, so that several programs can be compiled at once.
        no_slot = self._is_new
        self._states, self._best = self._refill(shared, self._states, self._best, keys, hyper, no_slot)
        self._best = self._choose(no_slot, self._states.params, self._best)
        if self.validate is not None:
            jax.block_until_ready(list(self.validate(self._states.params, hyper, no_slot).values()))

    @property
    def n_free(self) -> int:
        """Number of free slots."""
        return self.occupants.count(None)

    @property
    def members(self) -> list[Member]:
        """Members in training, in order of slots."""
        return [member for member in self.occupants if member is not None]

    @property
    def loads(self) -> list[int]:
        """Number of members on each device."""
        share = self.placement.per_device
        return [share - self.occupants[at : at + share].count(None) for at in range(0, len(self.occupants), share)]

    def put(self, member: Member, loads: Sequence[int] | None = None, saved: SavedMember | None = None) -> None:
        """Assign a member to a free slot on the device with the lowest load.

        Args:
            member: the member.
            loads: members on each device; may include those of other programs. None: those of these slots.
            saved: its training state in a process that ended; None: it starts from its seed.
        """
        share, loads = self.placement.per_device, self.loads if loads is None else loads
        free = [slot for slot, occupant in enumerate(self.occupants) if occupant is None]
        slot = min(free, key=lambda slot: (loads[slot // share], slot))
        self.occupants[slot], self._seeds[slot], self._is_new[slot] = member, member.seed, True
        self.change(member, member.hyper)
        if saved is not None and saved.state is not None:
            member.restore(saved.record)
            self._is_new[slot] = False
            state = jax.tree.unflatten(jax.tree.structure(self._states), saved.state)
            own = self.placement.padded((state, saved.best))
            self._states, self._best = self._write((self._states, self._best), slot, own)
            for epoch in sorted(epoch for epoch in member.later if epoch <= member.epoch):
                self.change(member, member.later[epoch])

    def change(self, member: Member, hyper: Hyper) -> None:
        """Change the hyperparameters of a member in training."""
        slot, member.hyper = self.occupants.index(member), hyper
        for row, value in zip(jax.tree.leaves(self._hyper), jax.tree.leaves(hyper), strict=True):
            row[slot] = value
        self._on_device = None

    def copy(self, member: Member, source: Member, hyper: Hyper) -> None:
        """Replace the training state of a member by that of another; its record and best parameters stay.

        Args:
            member: the member to replace.
            source: the member to copy: parameters, optimizer state, random numbers.
            hyper: hyperparameters from the next epoch on.
        """
        target, slot = self.occupants.index(member), self.occupants.index(source)
        own = self.placement.padded(self._on_host(self._states, slot, self._shapes))
        self._states = self._write(self._states, target, own)
        self._seeds[target] = member.seed = source.seed
        self.change(member, hyper)

    def save(self, member: Member) -> SavedMember:
        """Training state of a member, copied to the host."""
        slot = self.occupants.index(member)
        state = None if member.ended else jax.tree.leaves(self._on_host(self._states, slot, self._shapes))
        return SavedMember(member.record, self.take(member), state)

    def release(self, member: Member) -> None:
        """Free the slot of a member."""
        self.occupants[self.occupants.index(member)] = None

    def take(self, member: Member) -> Params:
        """Best parameters of a member, copied to the host."""
        return self._on_host(self._best, self.occupants.index(member), self._shapes.params)

    def _on_host(self, tree: PyTree, slot: int, shapes: PyTree) -> PyTree:
        """Values of one slot, copied to the host without the padding of tables."""
        if (
            self.placement.n_row_devices == 1 and jax.process_count() == 1
        ):  # else a program of all devices collects the rows
            device, slot = divmod(slot, self.placement.per_device)
            tree = self.placement.part(tree, device)
        return trimmed(backend.to_host(self._take(tree, slot)), shapes)

    def advance(self) -> list[Member]:
        """Train one epoch of every member; return those that ended."""
        with single_threaded_blas():
            self.dispatch()
            return self.collect()

    def dispatch(self, members: Collection[Member] | None = None) -> None:
        """Start one epoch and validation, without waiting for results.

        Args:
            members: the members to train; None: all that have not ended.
        """
        self._trained = [m for m in self.members if not m.ended] if members is None else members
        for member in self._trained:
            if (hyper := member.later.get(member.epoch + 1)) is not None:
                self.change(member, hyper)
        keys, hyper = self._arguments()
        self._started = time.perf_counter()
        if self._is_new.any():
            self._fill(keys, hyper)
        active = np.array([member in self._trained for member in self.occupants])
        self._mine(hyper, active)
        self._due = active & np.array([member is not None and member.is_due(self.rules) for member in self.occupants])
        self._metrics = None
        self._is_waiting = True
        self._states, self._losses = self._epoch(self.program.shared, self._states, hyper, active)
        self._metrics = self._validated()

    def complete(self) -> None:
        """Complete an epoch that was interrupted between `dispatch` and the end of `collect`."""
        if self._is_waiting:
            self._metrics = self._validated() if self._metrics is None else self._metrics
            self.collect()

    def _validated(self) -> Mapping[str, np.ndarray | Array]:
        """Metrics of the members that are due."""
        if self.validate is None or not self._due.any():
            return {}
        return self.validate(self._states.params, self._arguments()[1], self._due)

    def collect(self) -> list[Member]:
        """Wait for the results of `dispatch` and record them; return the members that ended, still in their slots."""
        loss = backend.to_host(self._losses)
        trained = time.perf_counter()
        metrics = {key: backend.to_host(values) for key, values in (self._metrics or {}).items()}
        validated = time.perf_counter()
        self.train_s += trained - self._started
        self.validate_s += validated - trained
        improved = np.zeros(len(loss), bool)
        for slot, member in enumerate(self.occupants):
            if member is None or member not in self._trained:
                continue
            measured = {key: float(values[slot]) for key, values in metrics.items()} if self._due[slot] else {}
            row = {"epoch": member.epoch + 1, "loss": float(loss[slot]), "seconds": trained - self._started}
            member.seconds += (validated - self._started) / len(self._trained)
            improved[slot] = member.add(row | measured, self.rules if self.validate is not None else None)
        if improved.any():
            self._best = self._choose(improved, self._states.params, self._best)
        self.on_validated({m: slot for slot, m in enumerate(self.occupants) if m is not None and improved[slot]})
        self._is_waiting = False
        return [member for member in self._trained if member.ended]

    def _arguments(self) -> tuple[Array, Hyper]:
        """Random keys and hyperparameters of all slots, on their devices."""
        if self._on_device is None:
            self._on_device = self.placement.put((member_keys(self._seeds), self._hyper))
        return self._on_device

    def _fill(self, keys: Array, hyper: Hyper) -> None:
        """Initialize the members that have arrived."""
        self._states, self._best = self._refill(
            self.program.shared, self._states, self._best, keys, hyper, self._is_new
        )
        loaded = self.program.loaded(self._states.params)
        if loaded is not self._states.params:
            like = jax.tree.map(lambda x, y: x.astype(y.dtype), backend.to_host(loaded), self._states.params)
            params = self._choose(self._is_new, self.placement.put(like), self._states.params)
            self._states = self._states._replace(params=params)
            self._best = self._choose(self._is_new, params, self._best)
        self._is_new = np.zeros_like(self._is_new)

    def _mine(self, hyper: Hyper, active: Bool[np.ndarray, "S"]) -> None:
        """Mine the hard negatives of active members that are due."""
        miner = self.program.miner
        if miner is None:
            return
        epochs = [0 if member is None else member.epoch + 1 for member in self.occupants]
        due = active & np.array([miner.due(epoch) for epoch in epochs])
        if due.any():
            mined = self.placement.put(miner(np.array(epochs), self._seeds, self._states.params, hyper, due))
            self._states = self._states._replace(mined=self._choose(due, mined, self._states.mined))


def _refill(
    start: Callable[..., PyTree],
    n_row_devices: int,
    shared: PyTree,
    state: PyTree,
    best: Params,
    key: Array,
    hyper: Hyper,
    is_new: Array,
) -> tuple[PyTree, Params]:
    """State and best parameters of a slot: those of a new member if it has one."""

    def started(state: PyTree, best: Params) -> tuple[PyTree, Params]:
        state = padded(start(shared, key, hyper), n_row_devices)
        return state, state.params

    return jax.lax.cond(is_new, started, lambda state, best: (state, best), state, best)


def _take(trees: PyTree, slot: Array) -> PyTree:
    """The values of one slot."""
    return jax.tree.map(lambda x: x[slot], trees)


def _write(trees: PyTree, slot: Array, rows: PyTree) -> PyTree:
    """Set the values of one slot."""
    return jax.tree.map(lambda x, row: x.at[slot].set(row), trees, rows)


def _choose(at: Array, new: PyTree, old: PyTree) -> PyTree:
    """The new values of some slots, the old ones of the others."""
    return jax.tree.map(lambda new, old: jnp.where(at.reshape(-1, *[1] * (old.ndim - 1)), new, old), new, old)
