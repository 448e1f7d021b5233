"""Work that does not fit into memory is refused before it starts."""

import jax
import numpy as np
import pytest

from jaxrec import container, memory
from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.fitting.closed_form import ClosedForm
from jaxrec.fitting.population import Population
from jaxrec.hyper import Hyper
from jaxrec.models.ease import EASE


def test_available_memory_against_the_system(monkeypatch, tmp_path):
    file = tmp_path / "meminfo"
    monkeypatch.setattr(memory, "MEMINFO", file)
    monkeypatch.setattr(container, "CGROUPS", tmp_path)
    assert memory.available() is None
    file.write_text("MemTotal: 9 kB\nMemAvailable:       8 kB\n")
    assert memory.available() == 8192
    for name, content in {"max": "5000", "current": "2000", "stat": "anon 1900\ninactive_file 100"}.items():
        (tmp_path / f"memory.{name}").write_text(f"{content}\n")
    assert memory.available() == 3100  # the container has less


def test_ease_states_its_requirement_before_it_starts(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 6 * 2**30)
    one = np.zeros(1, np.int32)
    data = Interactions(one, one, None, None, None, np.arange(1), np.arange(41_000))
    with pytest.raises(
        InputError, match=r"41,000 items .a matrix of items x items. needs about 6.6 GiB .* 6.0 GiB .*model=ials"
    ):
        ClosedForm()(EASE(41_000, 1), data, Population(one, Hyper()))
    with pytest.raises(InputError, match=r"4 matrices .* needs about 25.4 GiB .*sweep.population=1"):
        EASE(41_000, 1).needs_memory(2)


def test_devices_of_a_cpu_share_an_array_without_a_copy():
    made = memory.empty((3, 5, 7))
    assert made.shape == (3, 5, 7)
    assert made.dtype == np.float32
    made[:] = 1.0
    mesh = jax.sharding.Mesh(np.array(jax.devices()), "row")
    shared = jax.device_put(made, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
    assert {shard.data.unsafe_buffer_pointer() for shard in shared.addressable_shards} == {made.ctypes.data}
