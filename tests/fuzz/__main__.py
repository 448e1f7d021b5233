"""Fuzz tests of code that reads files, settings and requests: `python -m tests.fuzz files journal --cases 100000`.

Prints the seed of a failing batch, which repeats it, and the smallest failing case.
"""

import argparse
import sys
import time
import warnings

from tests.fuzz.targets import TARGETS

BATCH = 1000  # cases per batch: hypothesis remembers what it has tried within a batch


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; none: all")
    parser.add_argument("--cases", type=int, default=100_000, help="cases of each target")
    parser.add_argument("--seed", type=int, default=0, help="of the first batch; the next has the next")
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}; choose from {', '.join(TARGETS)}")
    warnings.simplefilter("ignore")
    for name in arguments.targets or TARGETS:
        started = time.monotonic()
        for batch in range(-(-arguments.cases // BATCH)):
            number, size = arguments.seed + batch, min(BATCH, arguments.cases - batch * BATCH)
            try:
                TARGETS[name].run(size, number)
            except BaseException:
                print(f"repeat: python -m tests.fuzz {name} --cases {size} --seed {number}", file=sys.stderr)
                raise
        print(f"{name}: {arguments.cases:,} cases, {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
