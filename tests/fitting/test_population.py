"""Placements: slots on devices, and functions of a member mapped over them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import backend
from jaxrec.fitting.population import MAX_SLOTS, Placement, Population, member_keys, place
from jaxrec.hyper import Hyper


@pytest.mark.parametrize(
    ("n_members", "n_devices", "n_slots"), [(1, 2, 2), (2, 2, 2), (3, 2, 4), (8, 2, 8), (1000, 2, MAX_SLOTS)]
)
def test_slots_are_spread_over_the_devices(n_members, n_devices, n_slots):
    placement = place(n_members)
    assert (placement.n_devices, placement.n_slots) == (n_devices, n_slots)
    assert placement.per_device * n_devices == n_slots


@pytest.mark.parametrize(("members", "sequential"), [("vmap", False), ("sequential", True), ("auto", True)])
def test_members_of_a_device_are_sequential_on_a_cpu(members, sequential):
    assert place(4, members).sequential is sequential


@pytest.mark.parametrize(("platform", "by_default"), [("gpu", False), ("tpu", True)])
def test_members_of_a_gpu_are_vmapped_and_those_of_a_tpu_take_turns(monkeypatch, platform, by_default):
    monkeypatch.setattr(backend, "platform", lambda: platform)
    assert place(4).sequential is by_default
    assert place(4, "sequential").sequential
    assert not place(4, "vmap").sequential
    assert place(1).n_devices == 1  # a CPU of several devices has two


def test_slots_are_on_separate_devices_and_data_on_all():
    placement = Placement(3, 2, sequential=False)
    dealt, shared = placement.put(np.arange(4.0)), placement.replicate(np.arange(5.0))
    assert [shard.data.tolist() for shard in dealt.addressable_shards] == [[0, 1], [2, 3]]
    assert [shard.data.tolist() for shard in shared.addressable_shards] == [[0, 1, 2, 3, 4]] * 2
    assert len({shard.device for shard in dealt.addressable_shards}) == 2
    parts = [placement.part({"x": dealt}, device)["x"] for device in range(2)]
    assert [part.tolist() for part in parts] == [[0, 1], [2, 3]]
    assert [part.devices() for part in parts] == [{device} for device in jax.devices()[:2]]


@pytest.mark.parametrize("sequential", [True, False])
@pytest.mark.parametrize("n_members", [1, 2, 6])
def test_map_against_a_loop_over_members(n_members, sequential):
    placement = Placement(n_members, min(2, n_members), sequential)
    data, weights = jnp.arange(4.0), np.random.default_rng(0).normal(size=(n_members, 4)).astype(np.float32)
    number = np.arange(n_members, dtype=np.float32)

    def f(data, weights, number):
        return {"sum": jnp.sum(data * weights) + number, "data": data * number}

    found = jax.jit(placement.map(f))(placement.replicate(data), *placement.put((weights, number)))
    np.testing.assert_allclose(found["sum"], weights @ np.arange(4.0) + number, rtol=1e-5)
    np.testing.assert_allclose(found["data"], number[:, None] * np.arange(4.0))


def test_the_text_of_a_placement():
    assert str(Placement(3, 2, sequential=True)) == "3 members on 2 cpu devices, 2 on each, sequential"
    assert str(Placement(1, 1, sequential=False)) == "1 member on 1 cpu device, 1 on each, vmapped"


def test_the_key_of_a_member_depends_on_its_seed_only():
    keys = jax.random.key_data(member_keys(np.array([4, 0, 4, 2**32 - 1])))
    for found, seed in zip(keys, [4, 0, 4, 2**32 - 1], strict=True):
        np.testing.assert_array_equal(found, jax.random.key_data(jax.random.key(np.uint32(seed))))
    assert len(np.unique(keys, axis=0)) == 3


def test_size_is_the_number_of_seeds():
    assert Population(np.arange(7), Hyper()).size == 7


def test_devices_of_a_cpu_share_one_copy_of_the_data():
    placement = place(jax.device_count())
    assert placement.mesh.size > 1
    data = jnp.arange(1_000)
    shared = placement.replicate({"items": data})["items"]
    copies = {shard.data.unsafe_buffer_pointer() for shard in shared.addressable_shards}
    assert len(shared.addressable_shards) == placement.mesh.size
    assert copies == {data.unsafe_buffer_pointer()}
