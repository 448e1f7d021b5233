"""Fit of a population in slots: early stopping, and keeping the best parameters of each member."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from pydantic import PositiveFloat, PositiveInt

from jaxrec import backend
from jaxrec.data.interactions import Interactions
from jaxrec.fitting.member import Member, Rules, members_of
from jaxrec.fitting.member_program import MemberProgram, Validate
from jaxrec.fitting.population import MAX_SLOTS, Placement, Population
from jaxrec.fitting.saved_slots import EpochRow, SavedMember, SavedSlots
from jaxrec.fitting.slots import Slots
from jaxrec.history import History
from jaxrec.hyper import Hyper, with_hyper
from jaxrec.metric_names import larger_is_better
from jaxrec.models.model import Model, Params
from jaxrec.query import Query

log = logging.getLogger(__name__)

OnEpoch = Callable[[int, list[dict[str, float]]], None]


@dataclass
class Fit:
    """A fitted population: parameters [P, ...] and the training record of each member."""

    params: Params
    history: list[list[EpochRow]]  # per member, one row per epoch: epoch, loss, seconds, metrics
    best_epoch: list[int]
    placement: str
    diverged: list[bool] = field(default_factory=list)  # members without one epoch of finite loss and scores
    compile_s: float = 0.0
    train_s: float = 0.0
    validate_s: float = 0.0
    interrupted: bool = False


class Trainer(Protocol):
    """Fits a population: `GradientFit`, `AlternatingFit` or `ClosedForm`."""

    def __call__(
        self,
        model: Any,  # each trainer has its own kind
        train: Interactions,
        population: Population,
        validate: Validate | None = None,
        on_epoch: OnEpoch = ...,
        epochs: Sequence[int] | None = None,
        saved: SavedSlots | None = None,
        n_slots: int = 1,
    ) -> Fit:
        """Fit every member in at least `n_slots` slots; see `EpochLoop.train` for the other arguments."""
        ...


@dataclass(frozen=True, kw_only=True)
class EpochLoop:
    """Stopping rule and model selection of iterative fits.

    Attributes:
        epochs: maximum number of epochs
        patience: number of validations without improvement after which a member stops; None: train for all epochs
        validate_every: epochs between validations
        monitor: validation metric for early stopping and for choosing the best epoch
        save_minutes: minutes between saves of the training state, from which a killed process continues; None: never
        schedule: numbers that change at given epochs, see `jaxrec.settings.schedule`; members bring them along in
            `Population.later`
    """

    epochs: PositiveInt = 50
    patience: PositiveInt | None = 5
    validate_every: PositiveInt = 1
    monitor: str = "ndcg@10"
    save_minutes: PositiveFloat | None = 10.0
    schedule: Mapping[str, Any] | None = None

    @property
    def rules(self) -> Rules:
        """Rules of validation and early stopping."""
        return Rules(self.patience, self.validate_every, self.monitor, 1 if larger_is_better(self.monitor) else -1)

    def program(self, model: Any, train: Interactions, hyper: Hyper, n_slots: int) -> tuple[MemberProgram, Placement]:
        """Program of a member, and placement of the slots; `hyper` has the numbers of the members."""
        raise NotImplementedError

    def n_slots(self, population: Population) -> int:
        """Number of slots for a population: at least those of the search that found the schedule."""
        return max(population.size, (self.schedule or {}).get("slots") or 1)

    def halving(self, n_slots: int, train: Callable[[int], Fit]) -> Fit:
        """Result of `train(n_slots)`; with half as many slots, where members take turns, if memory runs out.

        Members are trained again from their seeds, with the same results.
        """
        while True:
            try:
                return train(n_slots)
            except jax.errors.JaxRuntimeError as error:
                if not backend.is_out_of_memory(error) or n_slots == 1:
                    raise
                n_slots = -(-min(n_slots, MAX_SLOTS) // 2)
                log.warning("out of memory while training: %d members at a time from here on", n_slots)

    def train(
        self,
        program: MemberProgram,
        placement: Placement,
        population: Population,
        validate: Validate | None,
        on_epoch: OnEpoch,
        epochs: Sequence[int] | None,
        saved: SavedSlots | None,
    ) -> Fit:
        """Train all members and keep the best parameters of each.

        Ctrl-C ends training; the best parameters so far are returned, with `interrupted` set. The epoch in progress is
        completed if the training state is saved, else discarded.

        Args:
            program: how one member is trained.
            placement: distribution of the slots over the devices.
            population: seeds and hyperparameters of the members.
            validate: computes validation metrics; None: the last parameters are kept.
            on_epoch: called after each round of epochs with the latest epoch and one row of results per member.
            epochs: number of epochs of each member, if they differ; None: `self.epochs`.
            saved: training states of a process that ended, which are continued and written; None: nothing is written.
        """
        members = members_of(population, [self.epochs] * population.size if epochs is None else epochs)
        slots = Slots(program, placement, self.rules, validate, members[0].hyper)
        states = saved.found if saved is not None else {}
        numbers = {member: str(number) for number, member in enumerate(members)}
        params: dict[Member, Params] = {}
        for member in members:
            if (state := states.get(numbers[member])) is not None and state.state is None:
                member.restore(state.record)
                params[member] = state.best
        waiting, interrupted = [member for member in members if member not in params], False

        def save() -> None:
            in_slots = {numbers[member]: slots.save(member) for member in slots.members}
            left = {numbers[m]: SavedMember(m.record, own, None) for m, own in params.items() if m.ended}
            if saved is not None:
                saved.save(in_slots | left)

        try:
            while waiting or slots.members:
                while waiting and slots.n_free:
                    slots.put(waiting[0], saved=states.pop(numbers[waiting[0]], None))
                    waiting.pop(0)
                trained = set(slots.members)
                ended = slots.advance()
                rows = [member.history[-1] if member in trained else {} for member in members]
                on_epoch(max(member.epoch for member in trained), rows)
                for member in ended:
                    params[member] = slots.take(member)
                    slots.release(member)
                if saved is not None and saved.is_due and slots.members:
                    save()
            if saved is not None and saved.saves_results and saved.minutes is not None:
                save()
        except KeyboardInterrupt:
            interrupted = True
            if saved is not None and saved.minutes is not None:
                slots.complete()
                save()
            params |= {member: slots.take(member) for member in slots.members}
        return _fit_of(members, params, slots, interrupted)


def _fit_of(members: Sequence[Member], params: Mapping[Member, Params], slots: Slots, interrupted: bool) -> Fit:
    """Return the fit of members; those that an interrupt left without parameters have zeros, and count as diverged."""
    missing = jax.tree.map(np.zeros_like, next(iter(params.values()))) if len(params) < len(members) else {}
    kept = [params.get(member, missing) for member in members]
    on = np if slots.placement.n_row_devices > 1 else jnp  # tables that are split over devices may not fit into one
    return Fit(
        jax.tree.map(lambda *values: on.asarray(np.stack(values)), *kept),
        [member.history for member in members],
        [member.best_epoch for member in members],
        str(slots.placement),
        [member.best_epoch == 0 and (not interrupted or member not in params) for member in members],
        slots.compile_s,
        slots.train_s,
        slots.validate_s,
        interrupted,
    )


def fresh(model: Model, key: PRNGKeyArray, hyper: Hyper) -> Params:
    """Initialize the parameters of a member."""
    length = model.history_length
    query = Query(jnp.zeros(1, jnp.int32), History(jnp.full((1, length), -1)) if length else None)
    return dict(with_hyper(model, hyper).init(key, query, jnp.zeros((1, 1), jnp.int32)))
