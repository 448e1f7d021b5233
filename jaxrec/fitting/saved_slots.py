"""Saved training states: the members in training, written every few minutes so that a killed process can go on.

The two latest states are kept, each in a folder of its own and with a checksum; a damaged one falls back to the one
before it.
"""

import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypedDict

import jax
import numpy as np

from jaxrec.atomic_files import read_json
from jaxrec.checkpoint import MODEL_FILE, load, save_params
from jaxrec.cluster import broadcast
from jaxrec.errors import InputError
from jaxrec.models.model import Params

STATES = "training"  # folder of the states in a run or sweep directory, until it is finished

log = logging.getLogger(__name__)


EpochRow = dict[str, int | float]  # epoch, loss, seconds and validation metrics of one epoch


class Record(TypedDict):
    """Fields of `Member` that training changes."""

    history: list[EpochRow]
    best_epoch: int
    score: float
    stale: int
    seconds: float
    diverged: bool
    ended: bool
    lineage: list[object]


class SavedMember(NamedTuple):
    """A member in training.

    Attributes:
        record: fields of `Member` that training changes
        best: its best parameters
        state: leaves of its training state; None for a member that has ended
        validation: values of the users at its best epoch, see `sweep.user_values`; None: they are not kept
    """

    record: Record
    best: Params
    state: list[np.ndarray] | None
    validation: np.ndarray | None = None


@dataclass(eq=False)
class SavedSlots:
    """Training states of one program or one search in a folder.

    Attributes:
        directory: the folder; it is removed by `remove`
        minutes: time between two saves; None: never
        settings: what the states depend on; states of other settings are ignored
        saves_results: whether to save the members of a population when all have ended, too
        is_shared: whether other workers of a search save their states in folders next to this one
        writes: whether this process writes; of several processes of a run only the first does
    """

    directory: Path
    minutes: float | int | None
    settings: str = ""
    saves_results: bool = False
    is_shared: bool = False
    writes: bool = True
    _last: float = field(default_factory=time.monotonic)

    @property
    def is_due(self) -> bool:
        """Whether it is time to save, by the clock of the first process of a run."""
        return self.minutes is not None and bool(broadcast(time.monotonic() - self._last >= 60 * self.minutes))

    def save(self, members: Mapping[str, SavedMember]) -> None:
        """Write the state of members by name, in place of the older of the two saved ones."""
        self._last = time.monotonic()
        if not self.writes:
            return
        order = sorted((self.directory / name for name in ("a", "b")), key=_number)
        number = _number(order[1]) + 1
        params: Params = {name: {"best": member.best} for name, member in members.items()}
        for name, member in members.items():
            if member.state is not None:
                params[name]["state"] = {f"{i:04}": leaf for i, leaf in enumerate(member.state)}
            if member.validation is not None:
                params[name]["validation"] = member.validation
        records = {name: member.record for name, member in members.items()}
        extra = {"number": number, "settings": self.settings, "members": records}
        save_params(order[0], params, extra=extra)
        self._last = time.monotonic()

    @cached_property
    def found(self) -> dict[str, SavedMember]:
        """Members found at first use, see `read`."""
        return self.read()

    def read(self) -> dict[str, SavedMember]:
        """Return the members of the latest sound state, by name; of all workers, those trained longest."""
        found: dict[str, SavedMember] = {}
        for folder in sorted(self.directory.parent.glob("[0-9]*")) if self.is_shared else [self.directory]:
            for name, member in self._latest(folder).items():
                if name not in found or len(member.record["history"]) > len(found[name].record["history"]):
                    found[name] = member
        return found

    def _latest(self, directory: Path) -> dict[str, SavedMember]:
        for folder in sorted((directory / name for name in ("a", "b")), key=lambda folder: -_number(folder)):
            if not folder.exists():
                continue
            try:
                params, extra = load(folder)
            except InputError as error:
                log.warning("%s; continuing from an earlier state", error)
                continue
            if extra["settings"] != self.settings:
                continue
            members = {}
            for key, record in extra["members"].items():
                states, validation = (params[key].get(part) for part in ("state", "validation"))
                state = None if states is None else [np.array(states[i]) for i in sorted(states)]
                validation = None if validation is None else np.array(validation)
                members[key] = SavedMember(record, jax.tree.map(np.array, params[key]["best"]), state, validation)
            return members
        return {}

    @property
    def epoch(self) -> int:
        """Largest number of epochs of a found member; 0 without a saved state."""
        return max((len(member.record["history"]) for member in self.found.values()), default=0)

    def remove(self) -> None:
        """Delete the saved states, of all workers."""
        if not self.writes:
            return
        shutil.rmtree(self.directory.parent if self.is_shared else self.directory, ignore_errors=True)


def _number(folder: Path) -> int:
    """Number of a saved state, in order of time; 0 if it cannot be read, -1 if there is none."""
    if not folder.exists():
        return -1
    try:
        return int(read_json(folder / MODEL_FILE)["number"])
    except (InputError, KeyError, TypeError, ValueError):
        return 0
