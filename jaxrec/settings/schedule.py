"""Schedule of a run: numbers that change at given epochs, e.g. those that population-based training found.

epochs: 40                              # number of epochs; omitted: as without a schedule
space: {optimizer.learning_rate: [0.001, 0.1]}  # bounds of the search, which set array sizes; may be omitted
steps:
  - {from_epoch: 1, overrides: {optimizer.learning_rate: 0.03}}
  - {from_epoch: 11, overrides: {optimizer.learning_rate: 0.01}}
"""

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from jaxrec.errors import InputError
from jaxrec.settings.tree import Tree, flat, get, put

SCHEDULE = "trainer.schedule"

Number = bool | int | float | str | None


class Step(BaseModel):
    """Settings from one epoch on, counted from 1."""

    model_config = ConfigDict(extra="forbid")
    from_epoch: PositiveInt
    overrides: dict[str, Number]


class Schedule(BaseModel):
    """Steps in order, each in addition to those before it.

    Attributes:
        steps: settings by first epoch
        epochs: number of epochs of the run, without early stopping; None: `trainer.epochs` and `trainer.patience`
        space: bounds or choices of the search that found the schedule
        slots: members that its program trained at once
    """

    model_config = ConfigDict(extra="forbid")
    steps: list[Step] = Field(min_length=1)
    epochs: PositiveInt | None = None
    space: dict[str, list[Number]] = {}
    slots: PositiveInt | None = None

    @classmethod
    def of(cls, content: object, source: str = "trainer.schedule") -> "Schedule":
        """Check the content of a schedule file.

        Args:
            content: plain dicts and lists.
            source: the file or setting to name in errors.

        Raises:
            InputError: it is not a schedule.
        """
        try:
            schedule = cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the whole file"
            raise InputError(
                f"{source}: {place}: {first['msg']}; a schedule is {{steps: [{{from_epoch: 1, overrides: "
                "{optimizer.learning_rate: 0.01}}, ...]}"
            ) from None
        epochs = [step.from_epoch for step in schedule.steps]
        if epochs != sorted(set(epochs)):
            raise InputError(f"{source}: from_epoch must increase from step to step, got {epochs}")
        return schedule


def steps_of(tree: Tree) -> dict[int, Tree]:
    """Return the settings of a run with a schedule, by first epoch.

    Raises:
        InputError: a step sets an unknown key.
    """
    current = put(tree, {SCHEDULE: None})
    steps, keys = {1: current}, flat(current)
    for step in Schedule.of(get(tree, SCHEDULE)).steps:
        if unknown := [key for key in step.overrides if key not in keys]:
            raise InputError(f"{SCHEDULE}: {unknown[0]} is not a setting of this run")
        steps[step.from_epoch] = current = put(current, step.overrides)
    return steps
