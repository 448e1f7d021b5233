"""One kind of command, killed again and again until it ends by itself."""

import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from tests.kills import victims
from tests.kills.kinds import Kind
from tests.kills.outputs import Contents, age, broken, differing
from tests.kills.victims import Victim

LONGER = 1.1  # times of kills are uniform up to this multiple of the duration, so that some commands end by themselves
LIMIT = 600  # time limit of a command, in seconds
REFUSED = "already holds"  # same command again after it has ended
UNFINISHED = ("the same command continues the search", "no trial was completed")  # all workers were killed


class DifferenceError(Exception):
    """The output of a killed command differs from that of an uninterrupted one."""


@dataclass
class Campaign:
    """Kills of one kind of command.

    Attributes:
        kind: the command.
        folder: where its outputs are.
        values: {run} and {storage} in its words.
        program: the program of the command.
        kills: how often it was killed.
        at_events: how often it was killed at an event of the file system.
        ends: how often it ended by itself.
        seconds: duration without interruption.
        n_events: number of events.
    """

    kind: Kind
    folder: Path
    values: dict[str, str] = field(default_factory=dict)
    program: Callable[[Sequence[str]], None] = victims.jaxrec
    kills: int = 0
    at_events: int = 0
    ends: int = 0
    seconds: float = 0.0
    n_events: int = 0

    def start(self, name: str, *more: str, at: int = 0, delay: float = 0) -> Victim:
        """Start the command with a folder of this name; see `Victim` for `at` and `delay`."""
        out = self.folder / name
        words = [word.format(out=out, name=name, **self.values) for word in (*self.kind.words, *more)]
        return Victim(self.program, words, out, at, delay)

    def look(self, name: str) -> Contents:
        """Return the contents of a folder, in the form that is compared."""
        return self.kind.look(self.folder / name)

    def reference(self) -> None:
        """Run the command without interruption, twice if it repeats exactly: the second time nothing is compiled."""
        names = ["through"] if self.kind.workers else ["first", "through"]
        for name in names:
            started = time.monotonic()
            self.check(self.start(name).wait(LIMIT), name)
            self.seconds = time.monotonic() - started
            self.n_events = (self.folder / f"{name}.events").stat().st_size
        if found := differing(self.look(names[0]), self.look("through")):
            raise DifferenceError(f"two commands that were not killed differ in {found}")
        if self.kind.earlier:
            self.check(self.start("earlier", *self.kind.earlier).wait(LIMIT), "earlier")

    def kill(self, n_kills: int, moments: random.Random) -> None:
        """Kill the command `n_kills` times, then let it end by itself."""
        step = self.kill_workers if self.kind.workers else self.kill_process
        while self.kills < n_kills:
            name = f"killed-{self.ends}"
            if self.kind.earlier and moments.random() < 0.5:
                shutil.copytree(self.folder / "earlier", self.folder / name)
            while not step(name, n_kills, moments):
                pass
            self.ends += 1
            if names := differing(self.look(name), self.look("through")):
                raise DifferenceError(f"{self.folder / name} differs from {self.folder / 'through'} in {names}")

    def kill_process(self, name: str, n_kills: int, moments: random.Random) -> bool:
        """Start the command and kill it at a moment, or at an event; return whether it ended before."""
        moment, at_event = LONGER * moments.random(), moments.random() < 0.5
        delay = moments.choice((0.0, moments.uniform(0, 0.01)))
        if self.kills >= n_kills:
            moment, at_event = LIMIT, False
        process = self.start(name, at=ceil(moment * self.n_events) if at_event else 0, delay=delay)
        started = time.monotonic()
        code = process.wait(LIMIT if at_event else self.seconds * moment)
        if code == 0:
            self.seconds = (self.seconds + time.monotonic() - started) / 2  # other work may have ended
        if code is None:
            victims.kill(process.pid)
            code = process.wait(LIMIT)
        if code == -signal.SIGKILL:
            self.kills += 1
            self.at_events += at_event
            age(self.folder / name)
            self.check_killed(name)
            return False
        if code != 2 or REFUSED not in self.printed(name):
            self.check(code, name)
        return True

    def kill_workers(self, name: str, n_kills: int, moments: random.Random) -> bool:
        """Start the command and kill workers until it ends or is killed itself; return whether it has succeeded."""
        process = self.start(name)
        while (code := process.wait(LIMIT if self.kills >= n_kills else self.seconds * moments.random() / 2)) is None:
            workers, victim = victims.workers_of(self.folder / name), moments.random()
            chosen = [moments.choice(workers)] if workers and victim < 0.6 else [process.pid]
            victims.kill(*(chosen if victim < 0.8 else [process.pid, *workers]))
            self.kills += 1
        if code == -signal.SIGKILL or (code == 2 and any(text in self.printed(name) for text in UNFINISHED)):
            return False
        self.check(code, name)
        deadline = time.monotonic() + LIMIT
        while victims.workers_of(self.folder / name):
            if time.monotonic() > deadline:
                raise DifferenceError(f"{name}: workers are left")
            time.sleep(0.1)
        return True

    def check_killed(self, name: str) -> None:
        """Check the output of a command that was killed: every file is whole, and the last one tells the truth."""
        complete = [self.look(each) for each in ("through", "earlier") if (self.folder / each).exists()]
        if self.kind.last and (names := broken(self.look(name), complete, self.kind.last)):
            raise DifferenceError(f"{self.folder / name} after a kill: {names}")

    def check(self, code: int | None, name: str) -> None:
        """Check that a command has succeeded."""
        if code != 0:
            raise DifferenceError(f"{name} ended with exit code {code}: {self.printed(name)}")

    def printed(self, name: str) -> str:
        """Return the end of the messages of a command."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]
