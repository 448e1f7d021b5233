"""Slots: a member's results do not depend on its slot, the number of slots, its neighbors, or its time of arrival."""

from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jaxrec import programs
from jaxrec.data.interactions import Interactions
from jaxrec.fitting.gradient import GradientFit
from jaxrec.fitting.member import Member
from jaxrec.fitting.objective import SampledObjective
from jaxrec.fitting.optimizers import adam
from jaxrec.fitting.slots import Slots, _take
from jaxrec.hyper import Hyper
from jaxrec.losses import bpr
from jaxrec.models.mf import MatrixFactorization
from jaxrec.negatives.uniform import Uniform

USERS, ITEMS, N, WIDTH, RATIO = 6, 9, 40, 4, 3
MODEL = MatrixFactorization(USERS, ITEMS, WIDTH, init_std=1.0)
FIT = GradientFit(SampledObjective(bpr, Uniform(RATIO)), partial(adam), epochs=3, batch_size=16, patience=None)


def data() -> Interactions:
    user, item = np.random.default_rng(0).integers(0, [[USERS], [ITEMS]], (2, N)).astype(np.int32)
    user[:USERS] = np.arange(USERS)
    return Interactions(user, item, None, None, None, np.arange(USERS), np.arange(ITEMS))


def hyper(rate: float, width: int, n_negatives: int) -> Hyper:
    real = {"optimizer.learning_rate": rate, "optimizer.weight_decay": 0.01, "model.regularization": 0.02}
    numbers = {key: np.float32(x) for key, x in real.items()}
    return Hyper(numbers | {"model.width": np.int32(width), "negatives.n_negatives": np.int32(n_negatives)})


def member(number: int) -> Member:
    """Members that differ in seed, rate, width, negatives and number of epochs."""
    return Member(number, hyper(0.01 * (number + 1), 2 + number % 3, 1 + number % RATIO), epochs=2 + number % 3)


def slots(n: int) -> Slots:
    program, placement = FIT.program(MODEL, data(), jax.tree.map(lambda x: x[None], hyper(0.1, WIDTH, RATIO)), n)

    def norms(params, hyper, active):
        return {"ndcg@10": np.array([np.abs(x).mean() for x in params["params"]["item_embedding"]["table"]])}

    return Slots(program, placement, FIT.rules, norms, hyper(0.1, WIDTH, RATIO))


def trained(n_slots: int, order: list[int]) -> dict[int, tuple[list, dict]]:
    """History and parameters of every member; a free slot takes the next of `order`."""
    bench, waiting, results = slots(n_slots), [member(number) for number in order], {}
    while waiting or bench.members:
        while waiting and bench.n_free:
            bench.put(waiting.pop(0))
        for ended in bench.advance():
            rows = [{key: value for key, value in row.items() if key != "seconds"} for row in ended.history]
            results[ended.seed] = rows, bench.take(ended)
            bench.release(ended)
    return results


@pytest.fixture(scope="module")
def alone() -> dict[int, tuple[list, dict]]:
    """Train one member after the other; member 0 gets a fresh slot here, member 4 in the reverse order."""
    return trained(1, [0, 1, 2, 3, 4])


@pytest.mark.parametrize(
    ("n_slots", "order"),
    [(1, [4, 3, 2, 1, 0]), pytest.param(2, [0, 1, 2, 3, 4], marks=pytest.mark.slow), (4, [2, 4, 0, 3, 1])],
)
def test_a_member_trains_as_it_would_alone(n_slots, order, alone):
    together = trained(n_slots, order)
    for number, (rows, params) in alone.items():
        assert together[number][0] == rows  # to the bit
        assert len(rows) == 2 + number % 3
        jax.tree.map(np.testing.assert_array_equal, together[number][1], params)


def test_a_paused_member_is_not_touched(alone):
    bench, first, second = slots(4), member(2), member(4)
    bench.put(first)
    bench.put(second)
    bench.dispatch([second])
    bench.collect()
    assert (first.epoch, second.epoch) == (0, 1)
    while not first.ended:
        bench.dispatch([first])
        bench.collect()
    jax.tree.map(np.testing.assert_array_equal, bench.take(first), alone[2][1])


def test_a_member_goes_to_the_device_with_the_lowest_load():
    bench = slots(4)
    for number in range(3):
        bench.put(member(number))
    assert bench.loads == [2, 1]
    bench.put(member(3), loads=[2, 5])  # the first device is full
    assert (bench.loads, bench.n_free) == ([2, 2], 0)


def test_a_member_is_saved_without_the_others():
    """Collecting the slots of all devices to read one took 50 seconds of a search of 64 trials."""
    bench, take, devices = slots(4), programs.jit(_take), set()

    def watched(tree, slot):
        devices.update(x.sharding.num_devices for x in jax.tree.leaves(tree))
        return take(tree, slot)

    bench._take = watched
    members = [member(number) for number in range(4)]
    for own in members:
        bench.put(own)
    bench.advance()
    saved = [bench.save(own) for own in members]
    assert devices == {1}
    tables = np.asarray(bench._best["params"]["item_embedding"]["table"])
    for own, state in zip(members, saved, strict=True):
        np.testing.assert_array_equal(
            state.best["params"]["item_embedding"]["table"], tables[bench.occupants.index(own)]
        )


def test_a_copy_trains_like_its_source():
    bench, copy, source = slots(2), member(1), member(4)
    bench.put(copy)
    bench.put(source)
    bench.advance()
    own = dict(copy.history[0])
    bench.copy(copy, source, source.hyper)
    bench.advance()
    assert copy.history[0] == own
    assert copy.history[1]["loss"] == source.history[1]["loss"]
    assert copy.seed == source.seed  # of the pools of its mined negatives
    jax.tree.map(np.testing.assert_array_equal, bench.save(copy).state, bench.save(source).state)
    assert copy.seconds + source.seconds == pytest.approx(bench.train_s + bench.validate_s)


def test_negatives_are_mined_for_the_epoch_that_is_trained_next():
    bench, epochs = slots(2), []
    bench.program = bench.program._replace(miner=SimpleNamespace(due=lambda epoch: bool(epochs.append(epoch))))
    bench.put(member(0))
    bench.advance()
    bench.put(member(1))
    bench.advance()
    assert epochs == [1, 0, 2, 1]  # 0: a free slot


def test_hyperparameters_of_a_member_can_change_in_training():
    """Epoch 2 with another rate and width is that of a copy with them."""
    changed, bench, other = member(4), slots(3), hyper(0.2, 3, 1)
    changed.later = {2: other}
    source, copy = member(4), member(1)
    for each in (changed, source, copy):
        bench.put(each)
    bench.advance()
    bench.copy(copy, source, other)
    bench.advance()
    assert changed.history[1]["loss"] == copy.history[1]["loss"] != source.history[1]["loss"]
    jax.tree.map(np.testing.assert_array_equal, bench.save(changed).state, bench.save(copy).state)
    continued, again = slots(1), member(4)
    again.later = {2: other}
    continued.put(again, saved=bench.save(changed))
    assert again.hyper is other
