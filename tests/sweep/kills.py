"""Runners whose process is killed, and records of a study, which are compared with those of a search without kills."""

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend


class Killed(BaseException):
    """Ends a search like SIGKILL: no handler catches it."""


class Mortal:
    """A runner whose process is killed at the n-th use of it."""

    def __init__(self, runner, n):
        self.runner, self.n, self.uses = runner, n, itertools.count()

    def __getattr__(self, name):
        if next(self.uses) == self.n:
            raise Killed
        return getattr(self.runner, name)

    def advance(self, seconds=math.inf):
        for progress in self.runner.advance(seconds):
            yield progress
            if next(self.uses) == self.n:
                raise Killed


@contextmanager
def killed_at_write(n: float) -> Iterator[itertools.count]:
    """Kill the process after `n` writes to a journal; yields the counter of writes."""
    writes, append = itertools.count(1), JournalFileBackend.append_logs

    def mortal(journal, logs):
        if next(writes) > n:
            raise Killed
        append(journal, logs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JournalFileBackend, "append_logs", mortal)
        yield writes


def records(study: optuna.Study) -> list[tuple]:
    """Return all trials without attributes that differ between runs."""
    timed = ("seconds", "worker")
    return [
        (t.number, t.state, t.value, t.params, {k: v for k, v in t.user_attrs.items() if k not in timed})
        for t in study.trials
    ]
