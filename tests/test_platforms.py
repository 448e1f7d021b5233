"""Every program of a run, from the first parameters to the last metric, lowers for GPUs and TPUs too."""

import jax
import jax.export
import pytest

from jaxrec import experiment, programs, settings
from tests.paths import ROOT
from tests.planted import PLANTED


def choices(group: str) -> list[str]:
    """Return the choices for planted data, which has no rows of label 0 for negatives=given."""
    return sorted({path.stem for path in (ROOT / "conf" / group).glob("*.yaml")} - {"none", "given"})


RUNS = [f"model={name}" for name in choices("model")]
RUNS += [f"model=mf negatives={name}" for name in choices("negatives")]
NO_PENALTY = {"row_sgd": " model.regularization=0", "row_adagrad": " model.regularization=0"}
RUNS += [f"model=mf optimizer={name}{NO_PENALTY.get(name, '')}" for name in choices("optimizer")]
RUNS += ["model=mf loss=softmax", "model=mf eval=candidates", "model=sasrec loss=sequence_gbce"]


class Exported:
    """A jitted function that is exported for other platforms before it is first used here."""

    def __init__(self, jitted, names: list[str]) -> None:
        self.jitted, self.names, self.done = jitted, names, False

    def export(self, *arguments) -> None:
        if not self.done:
            exported = jax.export.export(self.jitted, platforms=["cuda", "tpu"])(*arguments)
            self.names.append(exported.fun_name)
            self.done = True

    def __call__(self, *arguments):
        self.export(*arguments)
        return self.jitted(*arguments)

    def lower(self, *arguments):
        self.export(*arguments)
        return self.jitted.lower(*arguments)

    def eval_shape(self, *arguments):
        return self.jitted.eval_shape(*arguments)


@pytest.fixture
def no_programs():
    """Start without programs of other tests, and leave none."""
    programs.clear()
    yield
    programs.clear()


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_programs_lower_for_accelerators(compose, monkeypatch, no_programs, run):
    names = []
    jit = jax.jit
    monkeypatch.setattr(jax, "jit", lambda *function, **options: Exported(jit(*function, **options), names))
    tree = compose(*PLANTED, *run.split())
    short = {"trainer.epochs": 1, "model.history_length": 12, "negatives.warmup": 0, "negatives.ranks": (1, 20)}
    tree = settings.put(tree, {key: value for key, value in short.items() if settings.get(tree, key) is not None})
    settings.check(tree)
    split, _ = experiment.prepare(tree)
    ((_, shared, population),) = settings.populations([tree])
    experiment.finish(shared, split, experiment.select(shared, split.selection, population))
    fit = "_solve" if settings.get(tree, "trainer._target_").endswith("ClosedForm") else "_sharded"
    assert {fit, "evaluate"} <= set(names)
