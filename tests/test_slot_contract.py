"""Every model that is trained in epochs trains to the same bits in any slot, with any neighbors and arrival order."""

import jax
import numpy as np
import pytest

from jaxrec import experiment, settings
from jaxrec.fitting.member import members_of
from jaxrec.fitting.population import Population
from jaxrec.fitting.slots import Slots
from tests.paths import ROOT
from tests.planted import PLANTED

MODELS = sorted(path.stem for path in (ROOT / "conf" / "model").glob("*.yaml"))
SMALL = {
    "trainer.epochs": 2,
    "trainer.batch_size": 128,
    "model.embedding_dim": 8,
    "model.history_length": 12,
    "model.n_blocks": 1,
    "model.dilations": (1,),
}
RATES = (0.003, 0.01, 0.03)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_member_trains_to_the_same_bits_in_any_slot(name, compose):
    tree = compose(f"model={name}", *PLANTED)
    if not settings.is_random(tree):
        pytest.skip("solved in closed form, without slots")
    tree = _small(tree)
    if settings.get(tree, "trainer.batch_size") and tree["split"]["_target_"].endswith("leave_one_out"):
        tree = settings.put(tree, {"trainer.batch_size": 32})  # batches count users
    split, _ = experiment.prepare(tree)
    trees = [{**tree, "seed": seed} for seed in (1, 2, 3)]
    if settings.get(tree, "optimizer.learning_rate") is not None:
        trees = [settings.put(t, {"optimizer.learning_rate": r}) for t, r in zip(trees, RATES, strict=True)]
    ((_, shared, population),) = settings.populations(trees)
    orders = [(2, (0, 1, 2)), (2, (2, 1, 0)), (4, (1, 2, 0))]
    # A single slot of a sequence model splits its batches over the devices.
    if not tree["split"]["_target_"].endswith("leave_one_out"):
        orders.append((1, (0, 1, 2)))
    trained = {(n, order): _trained(shared, split.selection, population, n, order) for n, order in orders}
    first, *others = trained.values()
    assert len({row["loss"] for history, _ in first.values() for row in history}) == 6  # three members, two epochs
    for other in others:
        for number, (history, params) in first.items():
            assert other[number][0] == history
            jax.tree.map(np.testing.assert_array_equal, other[number][1], params)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sasrec", "gru4rec", "hstu"])
def test_inputs_besides_ids_train_to_the_same_bits_in_any_slot(name, compose):
    """Members differ in learning rate and ID dropout; one continues from a saved state."""
    read = ("item_features=true", "user_features=true", "time_gap=4", "calendar=true")
    read += ("time_bias=true",) if name == "hstu" else ()
    tree = compose(f"model={name}", *PLANTED, *(f"model.{setting}" for setting in read))
    tree = _small(tree)
    tree = settings.put(tree, {"trainer.batch_size": 32})
    trees = [
        settings.put(tree, {"seed": seed, "optimizer.learning_rate": rate, "model.id_dropout": dropped})
        for seed, rate, dropped in zip((1, 2, 3), RATES, (0.0, 0.2, 0.5), strict=True)
    ]
    one = _trained_the_same_in_other_slots(trees)
    assert len({row["loss"] for history, _ in one.values() for row in history}) == 6


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["sequence_softmax", "sequence_sampled_softmax"])
def test_mixtures_train_to_the_same_bits_in_any_slot(loss, compose):
    """Members differ in learning rate and temperature; one continues from a saved state."""
    own = ("model=sasrec", f"loss={loss}", "model.query_components=2", "model.temperature=0.5")
    own += ("negatives=uniform",) if loss == "sequence_sampled_softmax" else ()
    tree = compose(*own, *PLANTED)
    tree = _small(tree)
    tree = settings.put(tree, {"trainer.batch_size": 32})
    trees = [
        settings.put(tree, {"seed": seed, "optimizer.learning_rate": rate, "model.temperature": temperature})
        for seed, rate, temperature in zip((1, 2, 3), RATES, (0.1, 0.2, 0.5), strict=True)
    ]
    one = _trained_the_same_in_other_slots(trees)
    assert len({row["loss"] for history, _ in one.values() for row in history}) == 6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adam", "adamw", "nadam", "lion", "adagrad", "sgd"])
def test_schedules_and_averages_train_to_the_same_bits_in_any_slot(name, compose):
    """Members differ in learning rate, warm-up and decay of the average; one continues from a saved state."""
    tree = compose(f"optimizer={name}", *PLANTED)
    tree = _small(tree)
    values = zip((1, 2, 3), RATES, (0.5, 1.0, 0.25), (0.5, 0.9, 0.99), strict=True)
    trees = [
        settings.put(
            tree,
            {
                "seed": seed,
                "optimizer.learning_rate": learning_rate,
                "optimizer.warmup_epochs": warmup,
                "optimizer.cosine_epochs": 3.0,
                "optimizer.ema": ema,
            },
        )
        for seed, learning_rate, warmup, ema in values
    ]
    _trained_the_same_in_other_slots(trees)


def _small(tree: dict) -> dict:
    """The settings with the sizes of `SMALL` that they have."""
    return settings.put(tree, {key: value for key, value in SMALL.items() if settings.get(tree, key) is not None})


def _trained_the_same_in_other_slots(trees: list[dict]) -> dict:
    """Train three members in two slots, and assert that four slots, another order and a saved state change nothing."""
    split, _ = experiment.prepare(trees[0])
    ((_, shared, population),) = settings.populations(trees)
    one, other = (
        _trained(shared, split.selection, population, n, order, interrupted)
        for n, order, interrupted in ((2, (0, 1, 2), False), (4, (2, 0, 1), True))
    )
    for number, (history, params) in one.items():
        assert other[number][0] == history
        jax.tree.map(np.testing.assert_array_equal, other[number][1], params)
    return one


def _trained(
    shared, selection, population: Population, n_slots: int, order: tuple[int, ...], interrupted: bool = False
) -> dict:
    """Return history and parameters of each member; a free slot takes the next of `order`.

    If interrupted, the members continue in other slots from states saved after the first epoch.
    """
    model, evaluator = experiment.model_and_evaluator(shared, selection)
    trainer = experiment.trainer(shared)
    program, placement = trainer.program(model, selection.train, population.hyper, n_slots)
    members = members_of(population, [2, 2, 2])
    slots = Slots(program, placement, trainer.rules, evaluator.means, members[0].hyper)
    waiting, results = [members[number] for number in order], {}
    while waiting or slots.members:
        while waiting and slots.n_free:
            slots.put(waiting.pop(0))
        for ended in slots.advance():
            rows = [{key: value for key, value in row.items() if key != "seconds"} for row in ended.history]
            results[members.index(ended)] = rows, slots.take(ended)
            slots.release(ended)
        if interrupted:
            saved, interrupted = [(member, slots.save(member)) for member in slots.members], False
            slots = Slots(program, placement, trainer.rules, evaluator.means, members[0].hyper)
            for member, state in reversed(saved):
                slots.put(member, saved=state)
    return results
