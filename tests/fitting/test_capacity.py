"""Number of members trained at once: as many as fit into memory and still share launch costs."""

import jax
import pytest

from jaxrec import backend, experiment, settings
from jaxrec.fitting.capacity import GAIN, Need, choose, epoch_of, largest_population, needed_bytes
from tests.planted import PLANTED


@pytest.mark.parametrize(
    ("each", "work", "available", "expected"),
    [
        (10, 0.0, 1e9, 64),  # only launches: twice as many are twice as fast
        (10, 0.0, 20.0 + 10 * 40, 32),  # 20 bytes for all and 10 for each: 40 members fit
        (10, 0.0, 20.0 + 10 * 16, 16),
        (10, 9.0, 1e9, 1),  # launches of 1 s and work of 9 s: 10 s alone, 9.5 s each for two
        (10, 1.0, 1e9, 8),  # 1.25 s each for four members, 1.125 s for eight, 1.0625 s for sixteen
    ],
)
def test_the_largest_power_of_two_that_fits_and_is_faster(each, work, available, expected):
    few, many = (Need(n, 20.0 + each * n, 1 + n * work, 1.0) for n in (1, 8))
    assert GAIN == 1.1
    assert choose(few, many, available) == expected


def test_never_more_than_requested():
    few, many = (Need(n, 20.0, 1.0, 1.0) for n in (1, 8))
    assert choose(few, many, 1e9, most=7) == 4


@pytest.mark.slow
def test_the_number_follows_from_compiled_programs_of_few_and_more_members(compose, monkeypatch):
    tree = compose(*PLANTED, "model=mf", "model.embedding_dim=8")
    split, _ = experiment.prepare(tree)
    ((_, shared, population),) = settings.populations([tree])
    model, _ = experiment.model_and_evaluator(shared, split.selection)
    trainer, sizes = experiment.trainer(shared), []

    def program(n):
        sizes.append(n)
        return trainer.program(model, split.selection.train, population.hyper, n)

    hyper = population.hyper_of(0)
    assert largest_population(program, hyper) == 8  # a CPU
    assert largest_population(program, hyper, most=5) == 4
    assert not sizes
    epoch, arguments = epoch_of(*program(2), hyper)
    needed = needed_bytes(epoch.lower(*arguments).compile())
    tables = 3 * 4 * (300 + 120) * (8 + 1)  # parameters and two momenta of one member
    assert needed > tables
    monkeypatch.setattr(backend, "platform", lambda: "gpu")
    gpu = backend.CHOICES["gpu"]._replace(compiler_options={})
    monkeypatch.setitem(backend.CHOICES, "gpu", gpu)
    monkeypatch.setattr(backend, "memory", lambda: 1e12)
    assert largest_population(program, hyper) >= 8  # a model this small is bound by launches
    monkeypatch.setattr(backend, "memory", lambda: 1.0)
    assert largest_population(program, hyper) == len(jax.devices())
    assert sizes[1:] == [2, 16] * 2
