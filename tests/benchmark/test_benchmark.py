"""Benchmarks count the examples that were trained on, for jaxrec and for the library it is compared with."""

import shlex
import sys

import numpy as np
import pytest

from jaxrec import settings
from jaxrec.benchmark import cases
from jaxrec.errors import InputError
from tests.planted import PLANTED

LENGTH = 10
PEER = """
import json, sys
import numpy as np
n = len(np.load(sys.argv[2])["user"])
print(json.dumps({"name": f"{sys.argv[1]} of {n}", "seconds": [2.0] * int(sys.argv[4]), "targets": 7.0}))
"""


@pytest.fixture
def timed(compose, tmp_path):
    """`timed(case, overrides, peer)`: rows of a case on planted data, and interactions of each user."""

    def run(case, *overrides, peer=None):
        tree = compose(*PLANTED, *overrides)
        counts = np.bincount(settings.build(tree["data"]).user)
        return cases.run(tree, case, 1, tmp_path / "out.json", peer), counts

    return run


@pytest.mark.slow
def test_a_sequence_model_counts_the_latest_items_of_each_history(timed):
    (row,), counts = timed("fit", "model=sasrec", "model.n_blocks=1", f"model.history_length={LENGTH}")
    assert row["targets"] == np.minimum(counts - 1, LENGTH).sum()  # the first item is not predicted
    assert row["targets_per_s"] == pytest.approx(row["targets"] / row["median_s"], rel=1e-3)


@pytest.mark.slow
def test_a_masked_model_counts_masked_items(timed):
    masks = ("loss.mask=0.4", "loss.trailing=0.0")
    (row,), counts = timed("fit", "model=bert4rec", "model.n_blocks=1", f"model.history_length={LENGTH}", *masks)
    assert row["targets"] == pytest.approx(0.4 * np.minimum(counts, LENGTH).sum(), rel=0.1)


def test_every_interaction_is_counted_and_the_other_library_counts_its_own(timed, tmp_path):
    script = tmp_path / "peer.py"
    script.write_text(PEER)
    (ours, theirs), counts = timed("fit", "model=mf", peer=f"{sys.executable} {script} model")
    assert ours["targets"] == counts.sum() == 9000
    assert theirs["name"] == "model of 9000"
    assert theirs["targets"] == 7
    assert theirs["targets_per_s"] == 3.5


def test_a_least_squares_sweep_counts_every_interaction(timed):
    (row,), counts = timed("fit", "model=ials")
    assert row["targets"] == counts.sum()


def test_a_model_without_epochs_has_none_to_time(timed):
    with pytest.raises(InputError, match="use case=start"):
        timed("fit", "model=ease")


@pytest.mark.slow
def test_every_validation_user_is_evaluated(timed):
    (row,), counts = timed("evaluate", "model=mf", "split=leave_one_out")
    assert row["targets"] == (counts >= 3).sum() == 300
    assert row["targets_per_s"] == pytest.approx(300 / row["median_s"], rel=1e-3)


@pytest.mark.slow
def test_a_search_without_pruning_trains_all_epochs_with_any_number_of_slots(timed):
    few = ("sweep=mf", "sweep.n_trials=4", "sweep.population=2", "trainer.epochs=10", "trainer.patience=null")
    small = ("model.embedding_dim=32", "negatives.ratio=1", "trainer.batch_size=1024", "sweep.sampler=random")
    (halving, slots, batches, single), _ = timed("sweep", *few, *small)
    assert slots["epochs"] == batches["epochs"] == single["epochs"] == 4 * 10
    assert slots["busy"] == batches["busy"] == single["busy"] == 1.0  # all trials are equally long
    assert halving["epochs"] == 4 * 10 - 2 * halving["pruned"]  # at the first rung, epoch 8
    assert slots["best"] == batches["best"] == single["best"]


@pytest.mark.slow
def test_slots_stay_busy_while_batches_wait_for_their_slowest_trial(timed):
    few = ("sweep=mf", "sweep.n_trials=6", "sweep.population=2", "trainer.epochs=30", "trainer.patience=1")
    (_, slots, batches, _), _ = timed("sweep", *few, "trainer.batch_size=1024", "sweep.sampler=random")
    assert slots["epochs"] == batches["epochs"]  # the same trials
    assert batches["busy"] < slots["busy"] == 1.0


@pytest.mark.slow
def test_processes_are_timed_in_turn_with_those_of_the_other_library(tmp_path):
    log, script = tmp_path / "log", tmp_path / "peer.py"
    script.write_text(f"open({str(log)!r}, 'a').write('peer ')")
    arguments = [*PLANTED, "model=popularity", "loss=none", "negatives=none", "optimizer=none"]
    ours, theirs = cases.start(f"train {shlex.join(arguments)}", 1, f"{sys.executable} {script}")
    assert log.read_text() == "peer peer "
    assert (ours["name"], theirs["name"]) == ("jaxrec train", "peer")
    assert ours["median_s"] > theirs["median_s"] > 0
    assert ours["cpu_s"] > 1  # imports only


@pytest.mark.slow
def test_a_command_that_fails_is_named():
    with pytest.raises(InputError, match=r"jaxrec no-such-command .*failed: .*no-such-command"):
        cases.start("no-such-command", 1, None)


def test_users_need_unseen_items_to_mine(timed):
    with pytest.raises(InputError, match="fewer than 50 unseen items: increase"):
        timed("mining", "data.n_items=40")


@pytest.mark.slow
def test_one_repeat_times_every_sampler(timed):
    rows, _ = timed("samplers")
    assert [row["name"] for row in rows if "Hard" in row["name"]] == ["Hard epoch with mining", "Hard"]
    assert all(row["median_s"] > 0 for row in rows)


def test_a_search_is_timed_over_a_space(timed):
    with pytest.raises(InputError, match="case=sweep needs a search space: add sweep=NAME"):
        timed("sweep")
