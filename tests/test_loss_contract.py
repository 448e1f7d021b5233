"""Every loss trains members with different hyperparameters as alone, and every sampler supports sequences."""

import jax
import numpy as np
import pytest

from jaxrec import experiment, settings
from tests.paths import ROOT
from tests.planted import PLANTED

LOSSES = sorted(path.stem for path in (ROOT / "conf" / "loss").glob("*.yaml"))
SAMPLERS = sorted(path.stem for path in (ROOT / "conf" / "negatives").glob("*.yaml"))
COSINES = ("model.temperature=1", "model.biases=false")
MODELS = {
    "masked_softmax": ("model=bert4rec",),
    "bpr": ("model=mf",),
    "bce": ("model=mf",),
    "reconstruction": ("model=mult_vae", "model.hidden_dim=16"),
    "composite_prior": ("model=recvae", "model.hidden_dim=16"),
}
SMALL = {
    "trainer.epochs": 2,
    "trainer.batch_size": 32,
    "model.embedding_dim": 8,
    "model.history_length": 8,
    "model.n_blocks": 1,
    "negatives.ratio": 4,
    "negatives.warmup": 1,
    "negatives.refresh": 1,
    "negatives.ranks": (1, 5),
    "optimizer.eps": 1e-4,
}


def trained(*trees: dict) -> list:
    """Return losses and metrics by epoch, and the parameters, of members of one population."""
    ((positions, shared, population),) = settings.populations(trees)
    split, _ = experiment.prepare(trees[0])
    fit = experiment.select(shared, split.selection, population).fit
    return [(fit.history[m], jax.tree.map(lambda x: x[m], fit.params)) for m in positions]  # noqa: B023


def check(tree: dict) -> None:
    """Train two members that differ in every setting of loss and sampler, together and each alone."""
    tree = settings.put(tree, {key: value for key, value in SMALL.items() if settings.get(tree, key) is not None})
    settings.check(tree)
    numbers = settings.numbers_of(tree)
    own = {
        key: settings.get(tree, key) * 1.5 for key, n in numbers.items() if key.startswith("loss.") and not n.is_size
    }
    own |= {"negatives.ratio": 2} if "negatives.ratio" in numbers else {}
    members = [tree, settings.put(tree, own | {"seed": 5})]
    for (history, params), member in zip(trained(*members), members, strict=True):
        ((history_alone, params_alone),) = trained(member)
        for now, then in zip(history, history_alone, strict=True):
            assert np.isfinite(now["loss"])
            assert now["loss"] == pytest.approx(then["loss"], rel=1e-4)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-3, atol=2e-4), params, params_alone)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_members_with_different_numbers_of_a_loss(name, compose):
    if name in ("none", "click", "mse"):
        pytest.skip("no loss, or one of values, which are not planted")
    kind = ("model=sasrec",) if name.startswith("sequence") else MODELS.get(name, ("model=mf", *COSINES))
    check(compose(f"loss={name}", *kind, *PLANTED))


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_supports_sequences(name, compose):
    if name in ("none", "given"):
        pytest.skip("no sampler, or one of labels, which are not planted")
    share = {"in_batch": "batch", "batch_shared": "batch", "dynamic": "position"}.get(name, "user")
    own = ("model=gru4rec", "loss=sequence_sampled_softmax", f"loss.cost.share={share}", f"negatives={name}")
    check(compose(*own, "data.sequential=true", *PLANTED))
