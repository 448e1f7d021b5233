"""Choices by platform: programs for accelerators, run on a CPU, give the results of programs for CPUs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from scipy.special import log_softmax

from jaxrec import backend, experiment, settings
from jaxrec.fitting.permutation import shuffled
from jaxrec.fitting.population import Placement
from jaxrec.fitting.sequence_losses import catalog_cross_entropy
from jaxrec.ragged import ragged
from tests.planted import PLANTED

SOURCE = jnp.array([3, 4], jnp.uint32)


@pytest.fixture
def as_gpu(monkeypatch):
    """`as_gpu()`: from here on, programs are built as for a GPU."""

    def switch(**choices):
        monkeypatch.setattr(backend, "platform", lambda: "gpu")
        built = backend.CHOICES["gpu"]._replace(compiler_options={}, **choices)
        monkeypatch.setitem(backend.CHOICES, "gpu", built)

    return switch


def test_programs_are_built_for_the_devices_of_the_process_or_for_given_devices():
    sharding = NamedSharding(jax.make_mesh((1,), ("x",)), PartitionSpec())
    assert backend.platform() == "cpu"
    assert isinstance(backend.put(np.ones(3), sharding), jax.Array)
    one = jax.devices()[:1]
    with backend.built_for(one):
        assert backend.device_count() == 1
        assert isinstance(backend.put(np.ones(3), sharding), jax.ShapeDtypeStruct)
    assert backend.device_count() == len(jax.devices())


@pytest.mark.parametrize(("rows", "columns"), [(1, 2), (2, 1), (1, 1)])
def test_parts_of_an_array_are_joined_on_one_device(rows, columns):
    """Also an array that is replicated on every device."""
    x = np.arange(24.0, dtype=np.float32).reshape(4, 6)
    mesh = jax.make_mesh((rows, columns, 2 // (rows * columns)), ("row", "column", "copy"))
    joined = backend.together({"x": jax.device_put(x, NamedSharding(mesh, PartitionSpec("row", "column")))})["x"]
    assert joined.devices() == {jax.devices()[0]}
    np.testing.assert_array_equal(joined, x)


def test_blocks_of_members_that_run_at_once_share_a_device():
    assert backend.block(1000, 10) == 100
    with backend.at_once(4):
        assert backend.block(1000, 10) == 25
        assert backend.block(1000, 1000) == 1
    assert backend.block(1000, 10) == 100


@pytest.mark.parametrize("n", [1, 2, 7, 97, 100, 1013, 6040])
def test_the_order_of_examples_is_the_same(as_gpu, n):
    order = lambda: np.asarray(jax.jit(lambda: shuffled(SOURCE, n, jnp.arange(n, dtype=jnp.int32)))())  # noqa: E731
    expected = order()
    as_gpu()
    np.testing.assert_array_equal(order(), expected)
    assert sorted(expected.tolist()) == list(range(n))


def test_scans_of_known_length_are_unrolled(as_gpu):
    as_gpu()
    program = jax.make_jaxpr(lambda index: shuffled(SOURCE, 6040, index))(jnp.arange(4, dtype=jnp.int32))
    assert "while" not in str(program)


@pytest.mark.parametrize("scored", [1, 12 * 5, 1 << 20])  # one position at a time, five, all of them
def test_softmax_over_the_catalog_by_blocks_of_all_positions(as_gpu, scored):
    rng = np.random.default_rng(0)
    h, vectors = (jnp.asarray(rng.normal(size=size), jnp.float32) for size in ((17, 4), (12, 4)))
    target = jnp.asarray(rng.integers(12, size=17), jnp.int32)
    weight = jnp.asarray(rng.integers(3, size=17), jnp.float32)
    logs = log_softmax(np.asarray(h) @ np.asarray(vectors).T, axis=1)
    expected = -np.sum(np.asarray(weight) * logs[np.arange(17), target])
    as_gpu(loss_block=scored)
    both = jax.jit(jax.value_and_grad(catalog_cross_entropy, argnums=(0, 1)))
    cost, (dh, dvectors) = both(h, vectors, target, weight)
    np.testing.assert_allclose(cost, expected, rtol=1e-5)
    # The gradient with respect to scores is weight (softmax - one-hot).
    of_scores = np.asarray(weight)[:, None] * (np.exp(logs) - np.eye(12)[target])
    np.testing.assert_allclose(dh, of_scores @ np.asarray(vectors), atol=1e-5)
    np.testing.assert_allclose(dvectors, of_scores.T @ np.asarray(h), atol=1e-5)


@pytest.mark.parametrize("n_members", [1, 3])
def test_a_single_member_is_not_vmapped(n_members):
    seen = []
    placement = Placement(n_members, 1, sequential=False)
    mapped = placement.map(lambda shared, x: seen.append(x.shape) or shared * x)
    jaxpr = jax.make_jaxpr(mapped)(jnp.float32(2), np.ones((n_members, 4), np.float32))
    assert seen == [(4,)]
    assert ("f32[1,4] = mul" in str(jaxpr)) == (n_members == 0)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mf", "sasrec", "gru4rec", "bert4rec", "neumf"])
def test_a_run_of_an_accelerator_agrees_with_one_of_a_cpu(compose, as_gpu, model):
    overrides = ["trainer.epochs=2", "trainer.patience=null"]
    overrides += ["model.history_length=12"] if model in ("sasrec", "gru4rec", "bert4rec") else []
    tree = compose(*PLANTED, f"model={model}", *overrides)
    split, _ = experiment.prepare(tree)
    ((_, shared, population),) = settings.populations([tree, tree | {"seed": 2}, tree | {"seed": 3}])

    def losses():
        selected = experiment.select(shared, split.selection, population)
        return np.array([[row["loss"] for row in rows] for rows in selected.fit.history]), selected.validation

    expected, validation = losses()
    as_gpu()
    found, of_gpu = losses()
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert [row["ndcg@10"] for row in of_gpu] == pytest.approx([row["ndcg@10"] for row in validation], abs=0.02)


def test_filtered_items_are_one_mask_shared_by_all_members(as_gpu):
    seen = ragged(np.array([0, 2, 2, 3]), np.array([1, 3, 0]))
    mask = jax.vmap(lambda scores: seen.mask_block(scores, jnp.int32(1), 3))  # rows 1 and 2
    scores = jnp.asarray(np.arange(16, dtype=np.float32).reshape(2, 2, 4))
    as_gpu()
    expected = np.array([[[0, 1, 2, 3], [-np.inf, 5, 6, 7]], [[8, 9, 10, 11], [-np.inf, 13, 14, 15]]])
    np.testing.assert_array_equal(jax.jit(mask)(scores), expected)
    (scatter,) = [line for line in str(jax.make_jaxpr(mask)(scores)).splitlines() if "= scatter" in line]
    assert "bool[2,4]" in scatter
