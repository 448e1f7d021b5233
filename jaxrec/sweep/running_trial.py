"""Trials in training, and the compiled programs in whose slots they train."""

from dataclasses import dataclass, field

from jaxrec.fitting.member import Member
from jaxrec.fitting.population import Population
from jaxrec.fitting.saved_slots import SavedMember
from jaxrec.fitting.slots import Slots
from jaxrec.models.model import Model
from jaxrec.settings import Tree
from jaxrec.sweep.space import Values
from jaxrec.sweep.user_values import ObservedEvaluator


@dataclass(eq=False)
class Program:
    """A compiled program: its settings, the slots in which its trials train, and what validates them."""

    tree: Tree
    model: Model
    slots: Slots
    evaluator: ObservedEvaluator


@dataclass(eq=False)
class RunningTrial:
    """A trial in training.

    Attributes:
        trained: epochs to repeat without reporting
        waits: rounds before it starts
        number: number of the trial
        attributes: those of its outcome, once it has one
    """

    program: Program
    member: Member
    population: Population
    trained: int
    waits: int
    number: int
    attributes: Values = field(default_factory=dict)

    @property
    def saved(self) -> SavedMember:
        """Its training state, copied to the host."""
        return self.program.slots.save(self.member)._replace(validation=self.program.evaluator.best.get(self.member))
