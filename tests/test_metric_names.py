"""Metrics by name: parsing, and keys in results."""

import jax.numpy as jnp
import pytest

from jaxrec.errors import InputError
from jaxrec.evaluation.candidates import CandidateEvaluation
from jaxrec.evaluation.full_catalog import FullCatalog
from jaxrec.metric_names import keys, larger_is_better, metric
from jaxrec.metrics import rbp


def test_parameters_are_given_to_the_function_and_are_part_of_the_name():
    chosen = metric(" rbp( p = 0.50 )")
    assert chosen.name == "rbp(p=0.5)"
    assert chosen == metric("rbp(p=0.5)")  # so that one compiled program serves both
    assert metric("rbp").name == "rbp"
    hits = jnp.array([[False, True, True]])
    assert float(chosen(hits, jnp.array([2]))[0]) == 0.5 * (0.5 + 0.25)
    assert float(metric("rbp")(hits, jnp.array([2]))[0]) == float(rbp(hits, jnp.array([2]))[0])


def test_keys_are_ordered_by_list_length_with_predictions_last():
    chosen = [metric(name) for name in ("coverage", "rmse", "ndcg", "rbp(p=0.9)")]
    assert keys(chosen, (5, 10)) == (
        *("ndcg@5", "rbp(p=0.9)@5", "coverage@5"),
        *("ndcg@10", "rbp(p=0.9)@10", "coverage@10"),
        "rmse",
    )


@pytest.mark.parametrize("text", ["", "rbp(", "rbp(0.8)", "rbp(p=x)", "1", "a b", "rbp(**p)", "ndcg@10"])
def test_invalid_names(text):
    with pytest.raises(InputError, match="is not a metric: write a name"):
        metric(text)


def test_a_function_with_other_arguments_is_not_a_metric():
    with pytest.raises(InputError, match=r"json\.dumps is not a metric: .*\(hits, n_relevant\) of a user's list"):
        metric("json.dumps")


def test_smaller_is_better_is_declared_with_the_metric():
    better = {key: larger_is_better(key) for key in ("ndcg@10", "sampled_rbp(p=0.8)@5", "auc", "rmse", "log_loss")}
    assert better == {"ndcg@10": True, "sampled_rbp(p=0.8)@5": True, "auc": True, "rmse": False, "log_loss": False}


def test_the_monitor_is_one_of_the_chosen_metrics():
    assert FullCatalog(k=(3,), metrics=("err", "coverage"), monitor="err@3").measured == ("err@3", "coverage@3")
    assert CandidateEvaluation(k=(3,), metrics=("rbp(p=0.9)",), monitor="sampled_rbp(p=0.9)@3").monitor
    with pytest.raises(InputError, match=r"choose one of err@3 \(eval\.metrics at each of eval\.k\)"):
        FullCatalog(k=(3,), metrics=("err",))
