"""Meshes: batches and tables split over devices train and rank as one device does.

Tolerance: devices add the terms of a sum in another order. A sum of n float32 numbers changes by at most n 2^-24 times
the sum of their absolute values, here n <= 8 examples x 9 candidates: 5e-6 of a gradient. Adagrad passes that on to the
parameters in steps of at most 0.3, here twelve: 6e-5 of a step.
"""

import json
import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.fitting.alignment import AlignmentAndUniformity
from jaxrec.fitting.gradient import GradientFit
from jaxrec.fitting.member import members_of
from jaxrec.fitting.objective import CatalogObjective, SampledObjective
from jaxrec.fitting.optimizers import adagrad, row_adagrad
from jaxrec.fitting.population import Population, place
from jaxrec.fitting.slots import Slots
from jaxrec.hyper import Hyper
from jaxrec.losses import bce, softmax
from jaxrec.mesh import MeshSize, padded, rows_over, trimmed
from jaxrec.models.mf import MatrixFactorization
from jaxrec.negatives.batch_shared import BatchShared
from jaxrec.negatives.in_batch import InBatch
from jaxrec.negatives.uniform import Uniform
from jaxrec.ranking import QueryRows, Ranker
from tests.paths import ROOT
from tests.slow import some_slow

USERS, ITEMS, N, BATCH, WIDTH = 17, 19, 43, 8, 4  # tables of 9 and 10 rows on each of two devices, one row of padding
MODEL = MatrixFactorization(USERS, ITEMS, WIDTH, init_std=1.0)


def train() -> Interactions:
    user, item = np.random.default_rng(0).integers(0, [[USERS], [ITEMS]], (2, N)).astype(np.int32)
    user[:USERS] = np.arange(USERS)
    return Interactions(user, item, None, None, None, np.arange(USERS), np.arange(ITEMS))


def fit(objective, optimizer, mesh: MeshSize = MeshSize()):  # noqa: B008
    model = replace(MODEL, temperature=1.0, biases=False) if isinstance(objective, AlignmentAndUniformity) else MODEL
    numbers = {"optimizer.learning_rate": np.array([0.3], np.float32)}
    trainer = GradientFit(
        objective=objective, optimizer=optimizer, batch_size=BATCH, epochs=2, patience=None, mesh=mesh
    )
    return trainer(model, train(), Population(np.array([3]), Hyper(numbers)))


CASES = {
    "sampled": (SampledObjective(bce, Uniform(3)), adagrad),
    "in batch": (SampledObjective(softmax, InBatch(99)), adagrad),
    "some in batch": (SampledObjective(softmax, InBatch(3)), adagrad),
    "catalog": (CatalogObjective(), adagrad),
    "uniformity": (AlignmentAndUniformity(), adagrad),
    "rows": (SampledObjective(bce, Uniform(3)), row_adagrad),
    # As many as examples on a device: only their origin shows which ids are those of examples.
    "shared rows": (SampledObjective(softmax, BatchShared(BATCH // 2)), row_adagrad),
}


SPLITS = [(case, axis) for case in CASES for axis in ("batch", "row")]


@pytest.mark.whole
@pytest.mark.parametrize(
    "split_by",
    some_slow(SPLITS, *(set(SPLITS) - {("shared rows", "batch"), ("catalog", "row")})),
)
def test_a_split_fit_trains_to_the_parameters_of_one_device(split_by: tuple[str, str]) -> None:
    case, axis = split_by
    mesh = MeshSize(**{axis: 2})
    one, split = fit(*CASES[case]), fit(*CASES[case], mesh)
    assert [len(row) for row in one.history] == [2]
    assert "split over 2" in split.placement
    assert "split over" not in one.placement
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=1e-4 * 0.3), split.params, one.params)
    np.testing.assert_allclose(split.history[0][1]["loss"], one.history[0][1]["loss"], rtol=1e-5)


def test_each_device_holds_its_rows_of_tables_and_optimizer_state() -> None:
    trainer = GradientFit(
        objective=CASES["sampled"][0], optimizer=adagrad, batch_size=BATCH, patience=None, mesh=MeshSize(row=2)
    )
    population = Population(np.array([3]), Hyper({"optimizer.learning_rate": np.array([0.3], np.float32)}))
    program, placement = trainer.program(MODEL, train(), population.hyper, 1)
    slots = Slots(program, placement, trainer.rules, None, members_of(population, [1])[0].hyper)
    slots.put(members_of(population, [1])[0])
    slots.advance()
    params = slots._states.params["params"]
    for tree in (slots._states, slots._best):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            rows = [shard.data.shape for shard in leaf.addressable_shards]
            if "table" in jax.tree_util.keystr(path):  # 17 users and 19 items
                assert rows in ([(1, half, *leaf.shape[2:])] * 2 for half in (9, 10)), path
    assert params["item_embedding"]["table"].shape == (1, 20, WIDTH)
    assert not np.asarray(params["item_embedding"]["table"])[0, 19].any()


def test_a_catalog_split_over_devices_is_ranked_like_a_whole_one_with_ties() -> None:
    """Items 0 and 10 to 18 score 1, others 0: equal scores are in both parts of the catalog."""
    items = np.zeros((ITEMS, WIDTH), np.float32)
    items[[0, *range(10, ITEMS)]] = 1 / WIDTH
    params = {
        "user_embedding": {"table": np.ones((USERS, WIDTH), np.float32)},
        "item_embedding": {"table": items},
        "user_bias": {"table": np.zeros(USERS, np.float32)},
        "item_bias": {"table": np.zeros(ITEMS, np.float32)},
        "bias": np.zeros(1, np.float32),
    }
    known = Interactions(*np.array([[0], [10]], np.int32), None, None, None, np.arange(USERS), np.arange(ITEMS))
    with rows_over(2):
        ranker = Ranker(MODEL, QueryRows.for_users(np.arange(USERS), known.histories), 12)
    ranked = ranker({"params": jax.tree.map(lambda x: x[None], params)}, Hyper({}))
    best = [0, *range(10, ITEMS), 1, 2, 3]
    assert ranked.items[0, 1].tolist() == best[:12]
    assert ranked.items[0, 0].tolist() == [item for item in best if item != 10][:12]  # its known item is masked


def test_padding_adds_rows_to_tables_only_and_is_removed() -> None:
    tree = {"a": {"table": np.ones((17, 3)), "kernel": np.ones((17, 3))}, "few": {"table": np.ones(15)}}
    wide = padded(tree, 2)
    assert [x.shape for x in jax.tree.leaves(wide)] == [(17, 3), (18, 3), (15,)]
    assert not wide["a"]["table"][17].any()
    jax.tree.map(np.testing.assert_array_equal, trimmed(wide, tree), tree)


def test_a_mesh_must_fit_the_devices_and_the_batch() -> None:
    with pytest.raises(InputError, match=r"trainer\.mesh\.batch=2 trainer\.mesh\.row=2 needs 4 devices, there are 2"):
        place(1, size=MeshSize(batch=2, row=2))
    with pytest.raises(InputError, match=r"trainer\.batch_size=8 must be a multiple of trainer\.mesh\.batch=3"):
        fit(*CASES["sampled"], MeshSize(batch=3))


def test_members_use_the_devices_that_rows_leave_free() -> None:
    placement = place(4, size=MeshSize(row=2))
    assert (placement.n_devices, placement.n_row_devices, placement.per_device) == (1, 2, 4)


OBJECTIVES = {
    "pairwise": "model=mf",
    "pointwise": "model=neumf",
    "sampled softmax": "model=mf loss=sampled_softmax",
    "in batch": "model=mf loss=sampled_softmax negatives=in_batch negatives.ratio=4",
    "mined": "model=mf negatives=hard negatives.ranks=[2,20] negatives.warmup=1 negatives.refresh=1",
    "softmax": "model=softmax_dnn",
    "rows": "model=mf optimizer=row_adagrad model.regularization=0",
    "shared rows": "model=mf optimizer=row_adagrad model.regularization=0 loss=sampled_softmax negatives=batch_shared",
    "graph": "model=lightgcn",
    "uniformity": "model=mf loss=directau model.temperature=1",
    "next item": "model=sasrec model.history_length=8 loss=sequence_softmax",
    "masked item": "model=bert4rec model.history_length=8",
    "gbce": "model=sasrec model.history_length=8 loss=sequence_gbce",
}


@pytest.mark.slow
@pytest.mark.parametrize("case", OBJECTIVES)
def test_every_objective_trains_and_ranks_the_same_on_eight_devices(case: str) -> None:
    """As above: sums of 512 examples differ by 3e-5 of a gradient, over a few dozen steps of 0.05."""
    overrides = OBJECTIVES[case] + ("" if "optimizer" in OBJECTIVES[case] else " optimizer=adagrad")
    call = [sys.executable, "-m", "tests.mesh_runs", overrides, "trainer.mesh.batch=2 trainer.mesh.row=4"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["parameters"] < 1e-3 * 0.05
    assert found["losses"] < 1e-5
    assert found["other_items"] < 1e-3  # neighbors whose scores differ by rounding only
    whole, part = found["bytes"]
    assert whole / 4 <= part < 1.04 * whole / 4  # at most 3 rows of padding in 131
