"""Gradient fits: training against numpy, early stopping by scripted validations, members against themselves alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import backend
from jaxrec.errors import InputError
from jaxrec.fitting.gradient import GradientFit
from jaxrec.fitting.objective import CatalogObjective, SampledObjective
from jaxrec.fitting.optimizers import adagrad, adam, row_adagrad, sgd
from jaxrec.fitting.permutation import shuffled
from jaxrec.fitting.population import Population
from jaxrec.fitting.saved_slots import SavedSlots
from jaxrec.fitting.slots import Slots
from jaxrec.hyper import Hyper
from jaxrec.losses import bce
from jaxrec.models.mf import MatrixFactorization
from jaxrec.negatives.uniform import Uniform
from jaxrec.query import Query
from jaxrec.random import integers, stream, substream
from tests.fitting.small_fits import (
    BATCH,
    ITEMS,
    LABELED,
    MODEL,
    OBJECTIVE,
    RATIO,
    USERS,
    WEIGHT,
    N,
    population,
    train,
)
from tests.slow import some_slow


def member(params: dict, m: int) -> dict:
    return jax.tree.map(lambda x: np.asarray(x[m]), params)


def same(one: dict, other: dict) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


class Script:
    """A validation that returns given values, epoch by epoch, and records the parameters it receives."""

    def __init__(self, *epochs: list[float]) -> None:
        self.epochs, self.seen = epochs, [None]

    def __call__(self, params: dict, hyper: Hyper, active: np.ndarray) -> dict[str, np.ndarray]:
        if not active.any():  # compiled before the first epoch
            return {}
        self.seen.append(jax.tree.map(lambda x: np.asarray(x).copy(), params))
        values = self.epochs[len(self.seen) - 2]
        if values is KeyboardInterrupt:
            raise KeyboardInterrupt
        return {"ndcg@10": np.array(values)}


def scripted(measure):
    """A validation that calls `measure`, except when it is compiled before the first epoch."""
    return lambda params, hyper, active: measure() if active.any() else {}


@jax.jit
def fresh(seed: jax.Array) -> tuple[dict, jax.Array]:
    init, key = jax.random.split(jax.random.key(seed))
    return MODEL.init(init, Query(jnp.zeros(1, jnp.int32)), jnp.zeros((1, 1), jnp.int32))["params"], stream(key)


@jax.jit
def chance(source: jax.Array, epoch: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the order of the examples of an epoch, and the negatives of each."""
    of_epoch = substream(source, epoch)
    drawn = integers(substream(of_epoch, 1), ITEMS, jnp.arange(N)[:, None], jnp.arange(RATIO)[None, :])
    return shuffled(substream(of_epoch, 0), N, jnp.arange(N)), drawn


def start(seed: int) -> tuple[dict[str, np.ndarray], jax.Array]:
    """Return initial parameters in float64, and the random stream of the member."""
    tables, source = fresh(seed)
    flat = {"p": tables["user_embedding"]["table"], "q": tables["item_embedding"]["table"]}
    flat |= {"b": tables["user_bias"]["table"], "c": tables["item_bias"]["table"]}
    return {name: np.asarray(x, np.float64) for name, x in flat.items()}, source


def plain_sgd(
    seed: int, epochs: int, rate: float, decay: float, penalty: float, warmup: float = 0.0
) -> tuple[dict, list[float]]:
    """BPR by stochastic gradient descent, one weighted example, negative and parameter at a time."""
    data, (w, source) = train(), start(seed)
    losses = []
    for epoch in range(epochs):
        order, drawn = map(np.asarray, chance(source, epoch))
        total = 0.0
        for first in range(0, N, BATCH):
            rows = order[first : first + BATCH]
            g = {name: np.zeros_like(x) for name, x in w.items()}
            for row in rows:
                u, i, share = data.user[row], data.item[row], WEIGHT[row]
                g["p"][u] += share * 2 * penalty * w["p"][u]
                total += share * penalty * w["p"][u] @ w["p"][u]
                for shown in [i, *drawn[row]]:
                    g["q"][shown] += share * 2 * penalty * w["q"][shown] / (1 + RATIO)
                    total += share * penalty * w["q"][shown] @ w["q"][shown] / (1 + RATIO)
                for j in drawn[row]:
                    above = w["p"][u] @ (w["q"][i] - w["q"][j]) + w["c"][i] - w["c"][j]
                    wrong = share / (1 + np.exp(above)) / RATIO
                    total += share * np.log1p(np.exp(-above)) / RATIO
                    g["p"][u] -= wrong * (w["q"][i] - w["q"][j])
                    g["q"][i] -= wrong * w["p"][u]
                    g["q"][j] += wrong * w["p"][u]
                    g["c"][i] -= wrong
                    g["c"][j] += wrong
            passed = epoch + (first / BATCH + 0.5) / -(-N // BATCH)  # epochs, in the middle of the step
            own = rate * min(1.0, passed / warmup) if warmup else rate
            w = {name: x - own * (g[name] / WEIGHT[rows].sum() + decay * x) for name, x in w.items()}
        losses.append(total / WEIGHT.sum())
    return w, losses


def test_training_against_a_loop():
    """Two epochs of weighted examples, a short last batch, weight decay and penalty; two different members."""
    rates, decays, penalties = (0.5, 0.2), (0.01, 0.1), (0.02, 0.0)
    fit = GradientFit(OBJECTIVE, sgd, epochs=2, batch_size=BATCH)(
        MODEL, train(WEIGHT), population(2, rates, decays, penalties)
    )
    for m in range(2):
        expected, losses = plain_sgd(3 + m, 2, rates[m], decays[m], penalties[m])
        found = member(fit.params, m)["params"]
        np.testing.assert_allclose(found["user_embedding"]["table"], expected["p"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["item_embedding"]["table"], expected["q"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["user_bias"]["table"], expected["b"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["item_bias"]["table"], expected["c"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose([row["loss"] for row in fit.history[m]], losses, rtol=1e-5)
        assert not np.allclose(expected["p"], start(3 + m)[0]["p"], atol=0.01)


def test_a_warm_up_of_one_and_a_half_epochs_against_the_loop():
    fit = GradientFit(OBJECTIVE, partial(sgd, warmup_epochs=1.5), epochs=2, batch_size=BATCH)(
        MODEL, train(WEIGHT), population(2, (0.5, 0.2), (0.0, 0.0), (0.0, 0.0))
    )
    expected, losses = plain_sgd(3, 2, 0.5, 0.0, 0.0, warmup=1.5)
    np.testing.assert_allclose(
        member(fit.params, 0)["params"]["item_embedding"]["table"], expected["q"], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose([row["loss"] for row in fit.history[0]], losses, rtol=1e-5)


@pytest.mark.slow
def test_a_batch_is_at_most_the_data():
    """One step of full gradient descent per epoch, for any order: full softmax, which draws nothing at random."""
    fits = [
        GradientFit(CatalogObjective(), sgd, epochs=2, batch_size=size)(MODEL, train(), population(1))
        for size in (6, 1000)
    ]
    same(fits[0].params, fits[1].params)


def test_the_best_epoch_is_kept_and_patience_ends_training():
    """Member 0 is best at 2 and stops after 4, member 1 at 3 and after 5; stopped members do not change."""
    script = Script([0.1, 0.1], [0.3, 0.2], [0.3, 0.4], [0.2, 0.3], [0.9, 0.4])
    heard = []
    fit = GradientFit(OBJECTIVE, sgd, epochs=10, batch_size=BATCH, patience=2)(
        MODEL, train(), population(), script, lambda epoch, rows: heard.append((epoch, [bool(row) for row in rows]))
    )
    assert fit.best_epoch == [2, 3]
    assert not fit.interrupted
    same(member(fit.params, 0), member(script.seen[2], 0))
    same(member(fit.params, 1), member(script.seen[3], 1))
    assert [[row["epoch"] for row in rows] for rows in fit.history] == [[1, 2, 3, 4], [1, 2, 3, 4, 5]]
    assert [row["ndcg@10"] for row in fit.history[1]] == [0.1, 0.2, 0.4, 0.3, 0.4]
    assert heard == [*((epoch, [True, True]) for epoch in (1, 2, 3, 4)), (5, [False, True])]
    same(member(script.seen[5], 0), member(script.seen[4], 0))
    for m, (before, after) in enumerate([(3, 4), (4, 5)]):  # members in training change
        one, other = (member(script.seen[e], m)["params"]["user_embedding"]["table"] for e in (before, after))
        assert (one != other).all()


@pytest.mark.slow
def test_without_patience_training_goes_on_to_the_end():
    script = Script([0.5], [0.4], [0.3], [0.2])
    fit = GradientFit(OBJECTIVE, sgd, epochs=4, batch_size=BATCH, patience=None)(MODEL, train(), population(1), script)
    assert fit.best_epoch == [1]
    assert len(fit.history[0]) == 4
    same(fit.params, jax.tree.map(lambda x: x[:1], script.seen[1]))  # one slot for each device


def test_validation_every_other_epoch_and_after_the_last():
    """Patience counts validations: after epochs 2 and 4; the fifth and last epoch is always validated."""
    script = Script([0.1] * 2, [0.2] * 2, [0.3] * 2)
    fit = GradientFit(OBJECTIVE, sgd, epochs=5, batch_size=BATCH, validate_every=2, patience=1)(
        MODEL, train(), population(), script
    )
    assert ["ndcg@10" in row for row in fit.history[0]] == [False, True, False, True, True]
    assert fit.best_epoch == [5, 5]
    same(fit.params, script.seen[3])


def test_another_metric_may_be_monitored():
    script = scripted(lambda: {"ndcg@10": np.ones(2), "mrr@5": np.full(2, next(values))})
    values = iter([0.1, 0.5, 0.2])
    fit = GradientFit(OBJECTIVE, sgd, epochs=3, batch_size=BATCH, monitor="mrr@5")(MODEL, train(), population(), script)
    assert fit.best_epoch == [2, 2]


def test_a_monitored_error_is_minimized():
    values = iter([0.9, 0.7, 0.8, 0.75, 0.1])
    fit = GradientFit(OBJECTIVE, sgd, epochs=5, batch_size=BATCH, monitor="rmse", patience=2)(
        MODEL, train(), population(), scripted(lambda: {"rmse": np.full(2, next(values))})
    )
    assert (fit.best_epoch, len(fit.history[0])) == ([2, 2], 4)


def test_members_train_for_epochs_of_their_own():
    """Three members on two devices, so that one is repeated; without validation the last parameters are kept."""
    whole = GradientFit(OBJECTIVE, sgd, epochs=2, batch_size=BATCH)(MODEL, train(), population(3))
    fit = GradientFit(OBJECTIVE, sgd, epochs=9, batch_size=BATCH)(MODEL, train(), population(3), epochs=[2, 1, 3])
    assert [len(rows) for rows in fit.history] == [2, 1, 3]
    assert fit.best_epoch == [2, 1, 3]
    same(member(fit.params, 0), member(whole.params, 0))
    one_epoch, two_epochs, three_epochs = (member(f.params, m)["params"] for f, m in ((fit, 1), (whole, 1), (fit, 2)))
    assert (one_epoch["item_embedding"]["table"] != two_epochs["item_embedding"]["table"]).all()
    assert (
        three_epochs["item_embedding"]["table"] != member(whole.params, 2)["params"]["item_embedding"]["table"]
    ).all()


def test_ctrl_c_returns_the_best_parameters_so_far():
    script = Script([0.3, 0.1], [0.2, 0.2], KeyboardInterrupt)
    fit = GradientFit(OBJECTIVE, sgd, epochs=10, batch_size=BATCH)(MODEL, train(), population(), script)
    assert fit.interrupted
    assert fit.best_epoch == [1, 2]
    assert [len(rows) for rows in fit.history] == [2, 2]
    same(member(fit.params, 0), member(script.seen[1], 0))
    same(member(fit.params, 1), member(script.seen[2], 1))


def test_ctrl_c_marks_members_that_were_still_waiting():
    """Two slots for three members: the third has no parameters."""
    trainer = GradientFit(OBJECTIVE, sgd, epochs=3, batch_size=BATCH)
    program, placement = trainer.program(MODEL, train(), population(3).hyper, 2)
    script = Script([0.3, 0.2], KeyboardInterrupt)
    fit = trainer.train(program, placement, population(3), script, lambda epoch, rows: None, None, None)
    assert fit.interrupted
    assert fit.diverged == [False, False, True]
    assert [len(rows) for rows in fit.history] == [1, 1, 0]
    same(member(fit.params, 1), member(script.seen[1], 1))
    assert not any(np.any(x) for x in jax.tree.leaves(member(fit.params, 2)))


def test_members_that_diverge_stop_and_are_marked():
    """The loss of the first epoch is not finite: the initial parameters are kept."""
    fit = GradientFit(OBJECTIVE, sgd, epochs=3, batch_size=BATCH)(MODEL, train(), population(2, rate=(1e30, 0.1)))
    assert fit.diverged == [True, False]
    assert [len(rows) for rows in fit.history] == [1, 3]
    assert fit.best_epoch == [0, 3]
    np.testing.assert_allclose(member(fit.params, 0)["params"]["user_embedding"]["table"], start(3)[0]["p"], rtol=1e-6)


def test_one_diverged_member_leaves_the_others_alone():
    """Its validation is NaN, which is never an improvement: it keeps its initial parameters."""
    script = Script([0.1, np.nan], [0.2, np.nan])
    fit = GradientFit(OBJECTIVE, sgd, epochs=2, batch_size=BATCH)(
        MODEL, train(), population(2, rate=(0.5, 1e30)), script
    )
    others = GradientFit(OBJECTIVE, sgd, epochs=2, batch_size=BATCH)(MODEL, train(), population())
    assert fit.best_epoch == [2, 0]
    assert np.isnan(fit.history[1][-1]["loss"])
    same(member(fit.params, 0), member(others.params, 0))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(fit.params))


@pytest.mark.slow
def test_vmapped_and_sequential_members_train_to_the_same_results():
    """Five members on two devices: three each, one of them a repeat."""
    vmapped, sequential = (
        GradientFit(LABELED, adam, epochs=2, batch_size=BATCH, members=how)(MODEL, train(), population(5, (0.1, 0.02)))
        for how in ("vmap", "sequential")
    )
    assert ("vmapped" in vmapped.placement, "sequential" in sequential.placement) == (True, True)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), vmapped.params, sequential.params)
    first, second = (member(vmapped.params, m)["params"]["user_embedding"]["table"] for m in (0, 2))
    assert (first != second).all()  # seeds differ


OPTIMIZERS = {
    "adam": (adam, 0.1),
    "adagrad": (adagrad, 0.5),
    "sgd with momentum": (partial(sgd, momentum=0.9), 0.2),
}


def by_hand(name: str, w: np.ndarray, gradients: list[np.ndarray], rate: float, decay: float) -> np.ndarray:
    """Take three steps by the formulas of the papers."""
    m = v = np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        if name == "adam":
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            w = w - rate * (m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8) + decay * w)
        elif name == "adagrad":
            g = g + decay * w
            v = v + g**2
            w = w - rate * g / np.sqrt(0.1 + v)
        else:
            m = 0.9 * m + g + decay * w
            w = w - rate * m
    return w


@pytest.mark.parametrize(("name", "optimizer"), [(name, optimizer) for name, (optimizer, _) in OPTIMIZERS.items()])
def test_optimizers_against_the_formulas_of_their_papers(name, optimizer):
    rng = np.random.default_rng(5)
    w, *gradients = rng.normal(size=(4, 5))
    one = optimizer(learning_rate=0.1, weight_decay=0.05)
    found = jnp.asarray(w, jnp.float32)
    state = one.init(found)
    for gradient in gradients:
        slope = jnp.asarray(gradient, jnp.float32)
        found, state, _ = one.step(lambda w, slope=slope: (jnp.sum(w * slope), None), found, state)
    np.testing.assert_allclose(found, by_hand(name, w, gradients, 0.1, 0.05), rtol=1e-4)


@pytest.mark.parametrize("name", some_slow(OPTIMIZERS, *(name for name in OPTIMIZERS if name != "adam")))
def test_a_member_that_differs_in_every_number_trains_as_alone(name):
    """Alone there is no padding: tables are as wide as the member uses, and as many negatives are drawn."""
    optimizer, rate = OPTIMIZERS[name]
    members = population(2, (rate, rate / 3), (0.0, 0.1), (0.02, 0.1), width=(4, 2), used=(3, 1))
    together = GradientFit(LABELED, optimizer, epochs=2, batch_size=BATCH)(MODEL, train(), members)
    twin = Population(members.seeds[1:], jax.tree.map(lambda numbers: numbers[1:], members.hyper))
    alone = GradientFit(SampledObjective(bce, Uniform(1)), optimizer, epochs=2, batch_size=BATCH)(
        MatrixFactorization(USERS, ITEMS, 2, init_std=1.0), train(), twin
    )

    def agree(wide, narrow):
        cut = tuple(map(slice, narrow.shape[1:]))
        np.testing.assert_allclose(wide[1][cut], narrow[0], rtol=1e-4, atol=1e-5)
        assert np.count_nonzero(wide[1]) <= narrow[0].size  # padding is zero

    jax.tree.map(agree, together.params, alone.params)
    losses = [[row["loss"] for row in rows] for rows in (together.history[1], alone.history[0])]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


@pytest.mark.slow
def test_members_with_row_updates_train_as_alone():
    members = population(2, (0.05, 0.02), None, (0.0, 0.0), width=(4, 2), used=(3, 1))
    together = GradientFit(LABELED, row_adagrad, epochs=2, batch_size=BATCH)(MODEL, train(), members)
    twin = Population(members.seeds[1:], jax.tree.map(lambda x: x[1:], members.hyper))
    alone = GradientFit(LABELED, row_adagrad, epochs=2, batch_size=BATCH)(MODEL, train(), twin)
    for wide, one in zip(jax.tree.leaves(together.params), jax.tree.leaves(alone.params), strict=True):
        np.testing.assert_allclose(wide[1], one[0], rtol=1e-4, atol=1e-6)


def test_members_take_turns_in_half_the_slots_when_memory_runs_out(monkeypatch, caplog):
    fit = GradientFit(OBJECTIVE, sgd, epochs=2, batch_size=BATCH)
    expected, advance, sizes = fit(MODEL, train(), population(4)), Slots.advance, []

    def in_two_slots(slots):
        sizes.append(len(slots.occupants))
        if len(slots.occupants) > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory allocating 8 bytes")
        return advance(slots)

    monkeypatch.setattr(Slots, "advance", in_two_slots)
    same(fit(MODEL, train(), population(4)).params, expected.params)
    assert sizes == [4, 2, 2, 2, 2]  # two members for two epochs, then the other two
    assert "out of memory while training: 2 members at a time" in caplog.text


def test_bfloat16_products_are_for_accelerators_and_are_summed_in_float32(monkeypatch):
    fit = GradientFit(LABELED, adam, epochs=1, batch_size=BATCH, precision="bfloat16")
    with pytest.raises(InputError, match=r"trainer\.precision=bfloat16 needs a GPU or TPU"):
        fit(MODEL, train(), population())
    monkeypatch.setattr(backend, "platform", lambda: "gpu")
    program, _ = fit.program(MODEL, train(), population().hyper, 1)
    one = jax.tree.map(lambda x: x[0], population().hyper)
    state = jax.eval_shape(program.start, program.shared, jax.random.key(0), one)
    epoch = jax.jit(program.epoch).lower(program.shared, state, one, True).as_text()
    products = [line for line in epoch.splitlines() if "dot_general" in line]
    assert products
    assert all("lhs_precision_type = bf16" in line and "accumulation_type = f32" in line for line in products)
    assert {x.dtype.name for x in jax.tree.leaves(state.params)} == {"float32"}


def test_results_are_saved_for_a_process_that_is_killed_after_training(tmp_path, monkeypatch):
    """They help while the members of a grid are evaluated, one after another."""

    def fitted(folder, minutes=1e6, saves_results=True):
        saved = SavedSlots(tmp_path / folder, minutes, saves_results=saves_results)
        return GradientFit(OBJECTIVE, sgd, epochs=2, batch_size=BATCH)(MODEL, train(), population(), saved=saved)

    first = fitted("grid")
    assert [len(state.record["history"]) for state in SavedSlots(tmp_path / "grid", 1).found.values()] == [2, 2]
    fitted("never", minutes=None)
    fitted("run", saves_results=False)
    assert [path.name for path in tmp_path.iterdir()] == ["grid"]
    monkeypatch.setattr(Slots, "advance", None)  # nothing is trained again
    same(first.params, fitted("grid").params)
