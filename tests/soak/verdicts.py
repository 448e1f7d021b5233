"""What is checked of a server after a soak test."""

from collections.abc import Sequence
from statistics import median, quantiles

from tests.soak.load import Load, Sample

P99_MS = 1000  # bound of the 99th percentile of latency, on a machine that also trains
GROWTH = 0.05  # bound of the growth of memory, after it has warmed up
PARTS = 10  # of the time, in the table

Verdict = tuple[str, bool]


def verdicts(load: Load, before: Sample, after: Sample) -> list[Verdict]:
    """Return what was checked, and whether it holds.

    Args:
        load: the clients, and samples of the server.
        before: the server before the clients came.
        after: the server after all clients have left.
    """
    if load.error or not load.latencies:
        return [(f"clients: {load.error or 'no answers'}", False)]
    fifth = max(1, len(load.samples) // 5)
    early, late = (
        median(each.memory for each in part) for part in (load.samples[fifth : 2 * fifth], load.samples[-fifth:])
    )
    p99, middle = (1000 * seconds for seconds in (quantiles(load.latencies, n=100)[-1], median(load.latencies)))
    most = max(each.files for each in load.samples)
    ran, waited = after.ran - before.ran, after.waited - before.waited
    cores = f"the server's threads ran {ran:.0f} s and waited {waited:.0f} s for a core"
    return [
        (f"latency: median {middle:.1f} ms, p99 {p99:.0f} ms (bound {P99_MS}); {cores}", p99 <= P99_MS),
        (f"answers with another status than 200: {len(load.refused)} {sorted(set(load.refused))}", not load.refused),
        (
            f"memory: {early:.0f} MiB in the second fifth, {late:.0f} MiB in the last (bound {GROWTH:+.0%})",
            late <= early * (1 + GROWTH),
        ),
        (
            f"open files: {before.files} before, {most} at most, {after.files} after (bound {before.files})",
            after.files <= before.files,
        ),
    ]


def over_time(samples: Sequence[Sample]) -> str:
    """Return memory and open files of the parts of the time, as lines of text."""
    size = max(1, len(samples) // PARTS)
    lines = ["second  memory (MiB)  open files (at most)"]
    for start in range(0, len(samples), size):
        part = samples[start : start + size]
        memory, files = median(each.memory for each in part), max(each.files for each in part)
        lines.append(f"{start:6}  {memory:12.0f}  {files:20}")
    return "\n".join(lines)
