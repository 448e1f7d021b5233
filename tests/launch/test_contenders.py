"""Models of a comparison that do not share a split or an evaluation."""

import pytest

from jaxrec.errors import InputError
from jaxrec.launch.contenders import Contender, check_shared


def contender(name: str, model: str, seed: int) -> Contender:
    tree = {"data": {"n": 1}, "split": {"seed": seed}, "eval": {"k": [10]}, "model": {"_target_": model}}
    return Contender(name, tree, {}, lambda _: tree, ())


def test_models_must_share_data_split_and_evaluation():
    check_shared([contender("ease", "EASE", 0), contender("mf", "MF", 0)])
    with pytest.raises(InputError, match=r"mf has split\.seed=1, ease has split\.seed=0: .* or omit mf"):
        check_shared([contender("ease", "EASE", 0), contender("mf", "MF", 1)])
