"""Kill campaign: commands are killed with SIGKILL at random moments and started again until they end by themselves.

`python -m tests.kills run grid --kills 50` trains every kind once without interruption, then kills the same command 50
times, and compares what it leaves: metrics, tables and the parameters of the best model must be equal. Prints the seed
of the moments, by which a failure is repeated. Slow: a process needs a few seconds to start.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from jaxrec.atomic_files import TEMPORARY
from tests.paths import ROOT
from tests.planted import PLANTED

TIMED = ("seconds", "train_s", "compile_s", "evaluate_s", "load_s", "worker")  # differ between equal runs
SHORT = (*PLANTED, "trainer.epochs=12", "trainer.batch_size=512", "trainer.save_minutes=0.001")
SEARCH = ("--multirun", *SHORT, "sweep=mf", "sweep.n_trials=8", "sweep.population=4")

# Kind → arguments of `jaxrec train`; the directory is added.
KINDS: dict[str, tuple[str, ...]] = {
    "run": (*SHORT, "hydra.run.dir={}"),
    "seeds": (*SHORT, "seeds=3", "hydra.run.dir={}"),
    "grid": ("--multirun", *SHORT, "optimizer.learning_rate=0.003,0.01", "loss=bpr,bce", "hydra.sweep.dir={}"),
    "search": (*SEARCH, "hydra.sweep.dir={}"),
    "pbt": (*SEARCH, "sweep.strategy=pbt", "hydra.sweep.dir={}"),
}


MARKS = ("metrics.json", "seeds.json", "runs.csv")  # of what is finished: the same command is then refused


@dataclass
class Campaign:
    """Kills of one kind of command.

    Attributes:
        kind: one of `KINDS`.
        folder: where the directories are.
        seconds: duration of an uninterrupted process.
        expected: what it leaves.
    """

    kind: str
    folder: Path
    seconds: float = 0.0
    expected: dict[str, object] | None = None

    def start(self, name: str) -> "subprocess.Popen[bytes]":
        """Start the command on a directory, with its output in NAME.log."""
        arguments = [text.format(self.folder / name) for text in KINDS[self.kind]]
        with (self.folder / f"{name}.log").open("ab") as log:
            line = [sys.executable, str(ROOT / "scripts" / "train.py"), *arguments]
            return subprocess.Popen(line, stdout=log, stderr=log, cwd=self.folder, start_new_session=True)

    def reference(self) -> None:
        """Run the command without interruption, twice: the second time nothing is compiled."""
        for name in ("first", "through"):
            started = time.monotonic()
            self.finished(self.start(name), name)
            self.seconds = time.monotonic() - started
        self.expected = left_by(self.folder / "through")

    def finished(self, process: "subprocess.Popen[bytes]", name: str) -> None:
        """Wait for the end of a process, and fail if it failed."""
        if code := process.wait(600):
            sys.exit(f"{self.kind}: exit code {code}\n{(self.folder / f'{name}.log').read_text()[-2000:]}")

    def kill(self, n_kills: int, moments: random.Random) -> int:
        """Kill the command until it has been killed `n_kills` times; return how often it ended by itself."""
        kills = ends = 0
        while kills < n_kills:
            name = f"killed-{ends}"
            while not any((self.folder / name / mark).exists() for mark in MARKS):
                process = self.start(name)
                try:
                    wait = self.seconds * (moments.random() if kills < n_kills else 100)
                    code = process.wait(wait)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    kills += 1
                    continue
                if code:
                    self.finished(process, name)
                break
            ends += 1
            found, expected = left_by(self.folder / name), self.expected or {}
            if differing := [key for key in found | expected if found.get(key) != expected.get(key)]:
                sys.exit(f"{self.kind}: {self.folder / name} differs from {self.folder / 'through'} in {differing}")
        return ends


def left_by(directory: Path) -> dict[str, object]:
    """Return what a finished command left, without times and names of processes."""
    found: dict[str, object] = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.name.startswith(TEMPORARY):  # removed by a later command
            continue
        if path.name == "metrics.json":
            metrics = json.loads(path.read_text())
            found[name] = {key: value for key, value in metrics.items() if key not in ("time", "environment")}
        elif path.suffix == ".csv":
            table = pd.read_csv(path)
            found[name] = table[[c for c in table if c not in TIMED]].to_json()
        elif path.suffix in (".safetensors", ".parquet"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.name in ("best.yaml", "schedule.yaml"):
            found[name] = path.read_text().replace(str(directory), "DIRECTORY")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; none: all")
    parser.add_argument("--kills", type=int, default=50, help="kills of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    if unknown := set(arguments.kinds) - set(KINDS):
        parser.error(f"no such kind: {', '.join(sorted(unknown))}; choose from {', '.join(KINDS)}")
    print(f"seed {arguments.seed}")
    for kind in arguments.kinds or KINDS:
        with tempfile.TemporaryDirectory() as temporary:
            campaign = Campaign(kind, Path(temporary))
            campaign.reference()
            ends = campaign.kill(arguments.kills, random.Random(f"{kind} {arguments.seed}"))
        print(f"{kind}: {arguments.kills} kills within {campaign.seconds:.1f} s, {ends} equal results", flush=True)


if __name__ == "__main__":
    main()
