"""Arguments of `jaxrec.search` as settings of the group `sweep`."""

import pytest

import jaxrec
from jaxrec.api import searching


def test_every_argument_reaches_the_settings(monkeypatch):
    given = {"n_trials": 7, "population": 3, "sampler": "random", "pruner": "median", "timeout": 2.0, "finalists": 2}
    given |= {"seed": 5, "workers": 2, "refit": True, "objectives": ("novelty@10",), "constraints": ("auc >= 0.5",)}
    found = {}

    def build(config):
        found.update(config)
        raise InterruptedError

    monkeypatch.setattr(searching.settings, "build", build)
    with pytest.raises(InterruptedError):
        jaxrec.search(None, "mf", space={"model.embedding_dim": [4, 8]}, **given)
    assert {name: found[name] for name in given} == given
    assert found["space"] == {"model.embedding_dim": {"choices": [4, 8]}}
