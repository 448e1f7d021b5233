"""The soak test finds a server that leaks, is slow or refuses clients; a few seconds of it find none in ours."""

import os
import time

import pytest

from tests.soak.load import Load, Sample, sample
from tests.soak.server import REQUEST_SECONDS, serving
from tests.soak.verdicts import over_time, verdicts

STEADY = [Sample(100, 10)] * 100


def load(**changes):
    """A load of 100 seconds on a steady server that answers within 10 ms."""
    return Load(**{"port": 0, "pid": 0, "until": 0, "latencies": [0.01] * 1000, "samples": STEADY, **changes})


def wrong(**changes):
    """What is wrong with a server that had 10 open files before and has as many afterwards."""
    return [text.partition(":")[0] for text, holds in verdicts(load(**changes), STEADY[0], STEADY[0]) if not holds]


def test_a_steady_server_passes():
    assert wrong() == []
    assert wrong(latencies=[0.01] * 998 + [9.0] * 2) == []  # two of a thousand are slow


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"latencies": [0.01] * 980 + [1.1] * 20}, "latency"),
        ({"refused": [503]}, "answers with another status than 200"),
        ({"samples": [Sample(100 + second, 10) for second in range(100)]}, "memory"),
        ({"error": "EOFError"}, "clients"),
        ({"latencies": []}, "clients"),
    ],
)
def test_what_is_wrong_with_a_server_is_named(changes, named):
    assert wrong(**changes) == [named]


def test_files_that_stay_open_are_found():
    assert [holds for _, holds in verdicts(load(), STEADY[0], Sample(100, 11))] == [True, True, True, False]


def test_memory_and_files_are_shown_over_time():
    lines = over_time([Sample(second // 10, second % 7) for second in range(100)]).splitlines()
    assert [line.split() for line in lines[1:]] == [[str(10 * part), str(part), "6"] for part in range(10)]


def test_what_a_process_has_used_is_measured():
    before, started = sample(os.getpid()), time.process_time()
    while (used := time.process_time() - started) < 0.1:
        pass
    after = sample(os.getpid())
    assert after.ran - before.ran == pytest.approx(used, rel=0.3)
    assert after.files > 0
    assert 10 < after.memory < 100_000


@pytest.mark.slow
def test_clients_for_a_few_seconds(planted_run, tmp_path):
    with serving(planted_run("model=ease"), tmp_path / "log") as (pid, port):
        before, clients = sample(pid), Load(port, pid, time.monotonic() + 5)
        clients.run(lambda _: None)
        time.sleep(2 * REQUEST_SECONDS)
        assert sample(pid).files <= before.files
    assert (clients.error, clients.refused) == ("", [])
    assert len(clients.latencies) > 100
    assert clients.rude > 50
    assert len(clients.samples) >= 4
