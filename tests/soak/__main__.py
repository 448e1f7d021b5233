"""Soak test: searches whose workers are killed, beside a server with clients that disconnect and that are slow.

`python -m tests.soak --minutes 20` checks that every search ends with its exact number of trials, that memory and open
files of the server do not grow, and that the 99th percentile of the latency of the polite clients stays below a bound.
"""

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.kills.campaign import LIMIT, Campaign, DifferenceError
from tests.kills.kinds import KINDS, RUN
from tests.kills.victims import Victim, jaxrec
from tests.soak.load import Load, sample
from tests.soak.server import REQUEST_SECONDS, serving
from tests.soak.verdicts import over_time, verdicts

KILLS = 6  # between two looks at the clock; each round of kills ends with a finished search


def searches(folder: Path, until: float, seed: int) -> tuple[str, bool]:
    """Search with two workers until a moment, again and again; return what was seen, and whether it is right."""
    kind = KINDS["workers"]
    kind = kind._replace(words=tuple(word.replace("sweep.workers=4", "sweep.workers=2") for word in kind.words))
    campaign, moments, wrong = Campaign(kind, folder), random.Random(f"soak {seed}"), ""
    try:
        campaign.reference()
        while time.monotonic() < until:
            campaign.kill(campaign.kills + KILLS, moments)
    except DifferenceError as error:
        wrong = f"; {error}"
    (n_trials,) = {word.partition("=")[2] for word in kind.words if word.startswith("sweep.n_trials=")}
    done = f"{campaign.ends} ended with exactly {n_trials} trials each"
    return f"searches: {campaign.kills} kills, {done}{wrong}", not wrong


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of kills")
    arguments = parser.parse_args()
    fork = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory(prefix="soak-") as temporary:
        folder = Path(temporary)
        run = folder / "finished"
        if Victim(jaxrec, [word.format(out=run) for word in RUN], run).wait(LIMIT) != 0:
            sys.exit(f"the run to serve failed: {run.with_name('finished.log').read_text()[-2000:]}")
        with serving(run, folder / "server.log") as (pid, port):
            before, until = sample(pid), time.monotonic() + 60 * arguments.minutes
            results = fork.SimpleQueue()
            fork.Process(target=Load(port, pid, until).run, args=(results.put,)).start()
            found = [searches(folder, until, arguments.seed)]
            load = results.get()
            time.sleep(2 * REQUEST_SECONDS)  # the server closes what clients have left
            found += verdicts(load, before, sample(pid))
    print(f"seed {arguments.seed}, {arguments.minutes:g} minutes")
    print(f"server: {len(load.latencies):,} answers, {load.rude:,} clients that disconnected or were slow")
    print(over_time(load.samples))
    for text, holds in found:
        print(text if holds else f"FAILED {text}")
    sys.exit(0 if all(holds for _, holds in found) else 1)


if __name__ == "__main__":
    main()
