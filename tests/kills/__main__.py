"""Kill campaign: commands are killed with SIGKILL at random and started again until they end by themselves.

`python -m tests.kills run mine --kills 50` runs a command of every kind without interruption, then kills the same
command 50 times, half of them at random moments and half at random events of the file system, and compares what it
leaves. Prints the seed, which repeats a failure. Slow: a process needs a few seconds to start.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest

from tests.kills.campaign import LIMIT, Campaign, DifferenceError
from tests.kills.kinds import KINDS, RUN, Kind
from tests.kills.victims import Victim, jaxrec
from tests.sweep.database import Postgres, Proxy

LEASE = Path(__file__).parent / "lease"
IMPORTED = (  # imports of the commands, done once before the processes fork
    *("jaxrec.cli", "jaxrec.launch", "jaxrec.explore.report", "jaxrec.pipeline.run"),
    *("jaxrec.recommend.export", "jaxrec.recommend.files", "jaxrec.recommend.mining"),
)


@contextmanager
def storage(kind: Kind, folder: Path) -> Iterator[str]:
    """Start the server of a study, if it has one, and yield its URL."""
    if kind.storage == "journal":
        yield ""
        return
    server = Postgres() if kind.storage == "postgres" else Proxy(folder)
    import_module("tests.kills.lease.sitecustomize")  # for commands, which are forks; workers import it when they start
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(LEASE), os.environ.get("PYTHONPATH")]))
    try:
        yield server.url
    finally:
        server.close()


def run(name: str, n_kills: int, seed: int) -> bool:
    """Kill a kind of command; return whether its output equals that without kills. On failure the folder is kept."""
    kind, started = KINDS[name], time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f"kills-{name}-"))
    finished = folder / "finished"
    if any("{run}" in word for word in kind.words):
        Victim(jaxrec, [word.format(out=finished) for word in RUN], finished).wait(LIMIT)
    campaign = Campaign(kind, folder, {"run": str(finished)})
    try:
        with storage(kind, folder) as url:
            campaign.values["storage"] = url
            campaign.reference()
            campaign.kill(n_kills, random.Random(f"{name} {seed}"))
    except DifferenceError as error:
        print(f"{name}: FAILED after {campaign.kills} kills: {error}", flush=True)
        return False
    except pytest.skip.Exception as error:
        shutil.rmtree(folder)
        print(f"{name}: skipped: {error}", flush=True)
        return True
    except KeyboardInterrupt:
        print(f"{name}: interrupted after {campaign.kills} kills and {campaign.ends} ends without kills", flush=True)
        raise
    shutil.rmtree(folder)
    at_events = f", {campaign.at_events} of them at one of {campaign.n_events} events" if campaign.at_events else ""
    print(
        f"{name}: {campaign.kills} kills of a command of {campaign.seconds:.1f} s{at_events}; it ended {campaign.ends} "
        f"times as without kills ({time.monotonic() - started:.0f} s)",
        flush=True,
    )
    return True


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__.partition("\n")[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; none: all")
    parser.add_argument("--kills", type=int, default=50, help="kills of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    if unknown := set(arguments.kinds) - set(KINDS):
        parser.error(f"no such kind: {', '.join(sorted(unknown))}; choose from {', '.join(KINDS)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for module in IMPORTED:
        import_module(module)
    print(f"seed {arguments.seed}", flush=True)
    try:
        done = [run(name, arguments.kills, arguments.seed) for name in arguments.kinds or KINDS]
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0 if all(done) else 1)


if __name__ == "__main__":
    main()
