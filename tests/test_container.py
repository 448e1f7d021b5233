"""Limits of containers, in the files of both versions of Linux control groups."""

import os

import jax
import pytest

from jaxrec import container
from jaxrec.machine import usable_cores, use_all_cores

V2 = {"cpu.max": "150000 100000", "memory.max": "5000", "memory.current": "2000", "memory.stat": "inactive_file 100"}
V1 = {
    "cpu/cpu.cfs_quota_us": "150000",
    "cpu/cpu.cfs_period_us": "100000",
    "memory/memory.limit_in_bytes": "5000",
    "memory/memory.usage_in_bytes": "2000",
    "memory/memory.stat": "inactive_file 7\ntotal_inactive_file 100",
}


@pytest.fixture
def limited(monkeypatch, tmp_path):
    """`limited(files)`: control groups with these files."""

    def write(files):
        monkeypatch.setattr(container, "CGROUPS", tmp_path)
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(f"{content}\n")

    return write


@pytest.mark.parametrize("files", [V2, V1], ids=["version 2", "version 1"])
def test_limits_are_those_of_the_container(files, limited):
    limited(files)
    assert container.cores() == 1.5
    assert container.free_memory() == 3100


@pytest.mark.parametrize(
    "files",
    [{}, V2 | {"cpu.max": "max 100000", "memory.max": "max"}, V1 | {"cpu/cpu.cfs_quota_us": "-1"}],
    ids=["no container", "version 2", "version 1"],
)
def test_without_limits_there_are_none(files, limited):
    limited(files)
    assert container.cores() is None
    if "memory/memory.stat" not in files:
        assert container.free_memory() is None


@pytest.mark.parametrize(("quota", "n"), [("50000", 1), ("150000", 2), ("1000000", 8), ("max", 8)])
def test_devices_are_the_cores_of_the_container(quota, n, limited, monkeypatch):
    """On a machine of eight cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    limited({"cpu.max": f"{quota} 100000"})
    assert usable_cores() == n


def test_a_configured_number_of_devices_is_kept(monkeypatch):
    """These tests configure two, whatever the machine has."""
    set_to = {}
    monkeypatch.setattr(jax.config, "update", set_to.__setitem__)
    use_all_cores()
    assert "jax_num_cpu_devices" not in set_to
