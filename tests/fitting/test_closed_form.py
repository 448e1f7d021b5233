"""Closed forms are solved and validated to the same bits in any population."""

import jax
import numpy as np
import pytest

from jaxrec import experiment, settings
from jaxrec.fitting.closed_form import ClosedForm
from jaxrec.fitting.population import Population
from tests.paths import ROOT
from tests.planted import PLANTED
from tests.slow import some_slow

MODELS = [
    path.stem for path in sorted((ROOT / "conf" / "model").glob("*.yaml")) if "trainer: closed_form" in path.read_text()
]
NUMBERS = {  # of a few members, by setting; a model has some of them
    "model.regularization": (5.0, 50.0, 500.0),
    "model.shrinkage": (2.0, 7.0, 30.0),
    "model.k": (20, 10, 50),
    "model.l2": (10.0, 30.0, 100.0),
    "model.alpha": (0.4, 0.5, 0.7),
    "model.dropout": (0.1, 0.3, 0.5),
}


@pytest.mark.parametrize("name", some_slow(MODELS, *(name for name in MODELS if name != "item_knn")))
def test_a_member_is_solved_to_the_same_bits_in_any_population(name, compose):
    tree = compose(f"model={name}", *PLANTED)
    assert isinstance(experiment.trainer(tree), ClosedForm)
    split, _ = experiment.prepare(tree)
    own = {key: values for key, values in NUMBERS.items() if settings.get(tree, key) is not None}
    trees = [settings.put(tree, dict(zip(own, values, strict=True))) for values in zip(*own.values(), strict=True)]
    trees = trees or [tree] * 3  # nothing to vary
    extremes = {key: sorted(values)[:: len(values) - 1] for key, values in own.items()}
    programs = [settings.program_of(each, extremes) for each in trees]
    assert len({key for key, *_ in programs}) == 1
    shared = programs[0][1]

    def trained(*members):
        population = Population.joined([programs[member][2] for member in members])
        selected = experiment.select(shared, split.selection, population)
        params = [jax.tree.map(lambda x: np.asarray(x)[m], selected.fit.params) for m in range(len(members))]  # noqa: B023
        return dict(zip(members, zip(params, selected.validation, strict=True), strict=True))

    together = trained(0, 1, 2)
    for others in (trained(0), trained(1), trained(2, 1), trained(2, 0, 1)):
        for member, (params, validation) in others.items():
            jax.tree.map(np.testing.assert_array_equal, params, together[member][0])
            assert validation == together[member][1]
