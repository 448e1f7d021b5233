"""Programs of one process: equal definitions are compiled once, and different ones never share a program."""

import gc
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import backend, experiment, programs, settings
from jaxrec.data.histories import UserHistories
from jaxrec.fitting.als import AlternatingFit
from jaxrec.fitting.closed_form import ClosedForm
from jaxrec.hyper import Hyper
from jaxrec.metric_names import metrics
from jaxrec.metrics import METRICS
from jaxrec.models.ease import EASE
from jaxrec.models.mf import MatrixFactorization
from jaxrec.models.popularity import Popularity
from jaxrec.programs import UndefinedError, definition
from jaxrec.ranking import QueryRows, Ranker
from tests.paths import ROOT
from tests.planted import PLANTED
from tests.slow import some_slow

COMPILED = []  # every program that JAX traces or compiles
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: COMPILED.append(event) if "trace_duration" in event or "compile_dur" in event else None
)


@pytest.fixture(autouse=True)
def no_programs() -> Iterator[None]:
    """Every test begins without programs, and restores those of other tests."""
    others, programs._kept = programs._kept, type(programs._kept)()
    yield
    programs._kept = others


@dataclass(frozen=True)
class Times:
    factor: float

    def __call__(self, x):
        return x * self.factor

    def plus(self, x, y):
        return x * self.factor + y


@dataclass
class Changeable:
    factor: float


class Color(Enum):
    RED = 1
    BLUE = 2


def scaled(factor, x):
    return x * factor


def local():
    return lambda x: x


def fitted(tree):
    """Return the parameters of a run, and its test metrics."""
    split, _ = experiment.prepare(tree)
    ((_, shared, population),) = settings.populations([tree])
    selected = experiment.select(shared, split.selection, population)
    (result,) = experiment.finish(shared, split, selected)
    return jax.tree.map(np.array, selected.fit.params), result.metrics["test"]


@pytest.mark.whole
def test_a_second_fit_compiles_nothing_and_is_equal_to_the_bit(compose):
    tree = compose("model=mf", *PLANTED, "trainer.epochs=2", "trainer.batch_size=512")
    held = {id(array) for array in jax.live_arrays()}  # by other tests
    first = fitted(tree)
    assert COMPILED
    COMPILED.clear()
    again = fitted(tree)
    assert not COMPILED
    jax.tree.map(np.testing.assert_array_equal, again, first)
    # Numbers and seeds are arguments of the program, and so is the number of epochs on the host.
    others = {"optimizer.learning_rate": 0.05, "model.regularization": 0.02, "seed": 7, "trainer.epochs": 3}
    other = fitted(settings.put(tree, others))
    assert not COMPILED
    assert other[1] != first[1]
    fitted(settings.put(tree, {"trainer.batch_size": 100}))
    assert COMPILED
    gc.collect()
    assert programs._kept
    kept = [array.size for array in jax.live_arrays() if id(array) not in held]
    assert max(kept, default=0) < 7_000  # neither the 7,200 interactions in train nor parameters


@pytest.mark.parametrize(("n", "rounded"), [(1, 1), (15, 15), (16, 16), (17, 18), (33, 36), (64, 64), (65, 72)])
def test_sizes_are_rounded_up_by_less_than_an_eighth(n, rounded):
    assert programs.rounded_up(n) == rounded


def test_columns_are_padded_unless_they_are_long(monkeypatch):
    np.testing.assert_array_equal(programs.padded(np.arange(17), -1), [*range(17), -1])
    np.testing.assert_array_equal(programs.padded(np.zeros(0, np.int32), 7), [7])
    monkeypatch.setattr(programs, "MAX_PADDED", 16)
    assert len(programs.padded(np.arange(16), -1)) == 16
    assert len(programs.padded(np.arange(17), -1)) == 17


@pytest.mark.parametrize(
    ("model", "params"),
    [
        (Popularity(9), {"count": np.zeros((1, 9), np.float32)}),
        (EASE(9, 4), {"weights": np.zeros((1, 9, 9), np.float32)}),
    ],
    ids=["no histories", "histories"],
)
def test_rows_with_almost_as_many_known_items_are_ranked_by_the_same_program(model, params):
    """As on validation and test of a leave-one-out split, where each user knows one item more."""

    def ranker(lengths):
        offsets = np.cumsum([0, *lengths])
        known = UserHistories(offsets, np.arange(offsets[-1], dtype=np.int32) % 9)
        return Ranker(model, QueryRows.for_users(np.arange(3), known), 2)

    one, other = ranker([6, 6, 5]), ranker([6, 6, 6])
    one({"params": params}, Hyper())
    COMPILED.clear()
    other({"params": params}, Hyper())
    assert not COMPILED


VALUES = [None, True, 1, 1.0, float("nan"), "1", b"1", (1, (2.0, None)), {"a": 1}, Color.RED, np.float32(1)]
VALUES += [np.dtype("i4"), scaled, partial(scaled, 2), Times(2.0), Times(2.0).plus, Times, jax.nn.relu]
VALUES += [MatrixFactorization(2, 3, 4)]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_equal_values_have_equal_definitions(value):
    assert definition(value) == definition(value)
    hash(definition(value))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        (1.0, np.float32(1)),
        (np.float32(1), np.float64(1)),
        ((1, 2), [1, 2]),
        ((1, (2,)), (1, 2)),
        ({"a": 1}, {"a": 1.0}),
        (Color.RED, Color.BLUE),
        (partial(scaled, 2), partial(scaled, 3)),
        (partial(scaled, 2), partial(scaled, factor=2)),
        (Times(2), Times(2.0)),
        (Times(2.0), Times(2.0).plus),
        (MatrixFactorization(2, 3, 4), MatrixFactorization(2, 3, 5)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_that_differ_have_other_definitions(one, other):
    assert definition(one) != definition(other)


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(2),
        jnp.zeros(2),
        (1, np.zeros(2)),
        Times(np.zeros(2)),
        partial(scaled, np.zeros(2)),
        MatrixFactorization(2, 3, 4, regularization=jnp.float32(1)),
        Changeable(1.0),
        local(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_compared_or_holds_arrays_has_no_definition(value):
    with pytest.raises(UndefinedError):
        definition(value)


def test_equal_functions_share_a_program_and_others_do_not():
    program = programs.jit(partial(scaled, 2.0))
    assert programs.jit(partial(scaled, 2.0)) is program
    assert programs.jit(partial(scaled, 3.0)) is not program
    assert programs.jit(partial(scaled, 2.0), donate_argnums=0) is not program
    assert [float(programs.jit(partial(scaled, factor))(3.0)) for factor in (2.0, 3.0)] == [6, 9]
    programs.clear()
    assert programs.jit(partial(scaled, 2.0)) is not program


def test_functions_that_capture_arrays_are_compiled_separately_and_not_kept():
    def plus(array):
        return programs.jit(lambda x: x + array)

    one, other = jnp.arange(3.0), jnp.ones(3)
    np.testing.assert_array_equal(plus(one)(other), [1, 2, 3])
    np.testing.assert_array_equal(plus(other)(other), [2, 2, 2])
    np.testing.assert_array_equal(programs.jit(partial(scaled, one))(other), one)
    assert not programs._kept
    held = Changeable(1.0)
    kept = weakref.ref(held)
    programs.jit(partial(scaled, held))
    del held
    gc.collect()
    assert kept() is None


def test_the_number_of_kept_functions_is_limited(monkeypatch):
    monkeypatch.setattr(programs, "MAX_PROGRAMS", 2)
    one, two = (programs.jit(partial(scaled, n)) for n in (1, 2))
    assert programs.jit(partial(scaled, 1)) is one  # used again, after the second
    programs.jit(partial(scaled, 3))
    assert len(programs._kept) == 2
    assert programs.jit(partial(scaled, 1)) is one
    assert programs.jit(partial(scaled, 2)) is not two


def test_other_devices_and_choices_are_other_programs(monkeypatch):
    program = programs.jit(partial(scaled, 2.0))
    with backend.built_for(jax.devices()[:1]):
        assert programs.jit(partial(scaled, 2.0)) is not program
    assert programs.jit(partial(scaled, 2.0)) is program
    monkeypatch.setitem(backend.CHOICES, "cpu", backend.CHOICES["cpu"]._replace(rank_block=7))
    assert programs.jit(partial(scaled, 2.0)) is not program


def choices(*groups: str) -> list[str]:
    files = [path for group in groups for path in sorted((ROOT / "conf" / group).glob("*.yaml"))]
    return [f"{path.parent.stem}={path.stem}" for path in files if path.stem != "none"]


@pytest.mark.parametrize("setting", some_slow(choices("model", "loss"), *choices("model")))
def test_every_model_and_loss_has_a_definition(compose, setting):
    """With its trainer and optimizer. A definition with arrays would be compiled in every fit."""
    model = {"loss=masked_softmax": "model=bert4rec"}.get(setting, "model=sasrec" if "sequence" in setting else "")
    tree = compose(*PLANTED, *filter(None, [model]), setting)
    trainer = experiment.trainer(tree)
    definition(settings.build(tree["model"], n_users=3, n_items=4, history_length=5, density=0.1))
    if not isinstance(trainer, ClosedForm | AlternatingFit):
        definition((trainer.objective, trainer.optimizer))


@pytest.mark.parametrize("setting", choices("negatives", "optimizer"))
def test_every_sampler_and_optimizer_has_a_definition(compose, setting):
    trainer = experiment.trainer(compose(*PLANTED, "model=mf", setting))
    definition((trainer.objective, trainer.optimizer))


def test_every_metric_has_a_definition():
    definition(tuple(METRICS.items()))
    definition(metrics(("ndcg", "rbp(p=0.8)"), [("hits", "n_relevant")]))
