"""The best trial that a process has trained, and how its parameters reach the process that tests it."""

from dataclasses import dataclass

import jax

from jaxrec.experiment import Selected
from jaxrec.fitting.epochs import Fit
from jaxrec.fitting.member import Member
from jaxrec.fitting.saved_slots import EpochRow, SavedMember, SavedSlots
from jaxrec.fitting.slots import Slots
from jaxrec.models.model import Params
from jaxrec.settings import Tree


@dataclass(frozen=True, eq=False)
class BestTrial:
    """The best trial trained in this process, with its parameters.

    Attributes:
        number: number of the trial
        score: negative number of violated constraints, and its validation; larger is better
        tree: settings of its program
        selected: the trained model, as a population of one
        member: the same for `SavedSlots`; None for a closed-form model
    """

    number: int
    score: tuple[int, float]
    tree: Tree
    selected: Selected
    member: SavedMember | None = None


def fit_of(params: Params, member: Member, slots: Slots, history: list[EpochRow]) -> Fit:
    """Return the best parameters of a member in these slots as the fit of a population of one."""
    return Fit(
        jax.tree.map(lambda x: x[None], params),
        [history],
        [member.best_epoch],
        str(slots.placement),
        [False],
        compile_s=slots.compile_s,
        train_s=member.seconds,
    )


def hand_over(best: BestTrial | None, number: int, states: SavedSlots | None) -> None:
    """Write the parameters of a trial, if it is the best of this process, for the process that tests it.

    Args:
        best: the best trial of this process.
        number: number of the best trial of all processes.
        states: training states of this process; None: nothing is written.
    """
    folder = handed_over(number, states)
    if folder is not None and best is not None and best.number == number and best.member is not None:
        folder.save({"0": best.member})


def handed_over(number: int, states: SavedSlots | None) -> SavedSlots | None:
    """Return the parameters of a trial that another process has written, as a population of one."""
    return None if states is None else SavedSlots(states.directory.parent / "handed-over" / str(number), None)
