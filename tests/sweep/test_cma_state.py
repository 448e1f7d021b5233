"""The state of CMA-ES in a study: it is restored, and cannot execute code."""

import pickle

import numpy as np
import pytest
from cmaes import CMA
from optuna.samplers import CmaEsSampler
from optuna.trial import create_trial

from jaxrec.errors import InputError
from jaxrec.sweep.cma_state import CmaEs


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


def restored(sampler: CmaEsSampler, state: object, protocol: int | None = None):
    text = pickle.dumps(state, protocol).hex()
    trial = create_trial(value=1.0)
    trial.system_attrs = {f"{sampler._attr_key_optimizer}:{i}": part for i, part in enumerate([text[:100], text[100:]])}
    return sampler._restore_optimizer([trial])


def test_a_state_that_would_run_a_command_is_refused(tmp_path):
    mark = tmp_path / "executed"
    with pytest.raises(InputError, match=r"holds posix\.system: another program changed it"):
        restored(CmaEs(), Hostile(f"touch {mark}"))
    assert not mark.exists()
    restored(CmaEsSampler(), Hostile(f"touch {mark}"))  # the attack works on Optuna's sampler
    assert mark.exists()


@pytest.mark.parametrize("protocol", [4, 5])  # the default of Python up to 3.13, and from 3.14 on
def test_the_state_is_restored(protocol):
    state = CMA(mean=np.array([0.25, 0.5]), sigma=0.1, bounds=np.array([[0.0, 1.0]] * 2), seed=3)
    for _ in range(3):
        state.tell([(x, float(np.sum(x**2))) for x in (state.ask() for _ in range(state.population_size))])
    found = restored(CmaEs(), state, protocol)
    for name in ("_mean", "_C", "_sigma", "_pc", "_g", "_bounds"):
        np.testing.assert_array_equal(getattr(found, name), getattr(state, name))
    assert len(found.ask()) == 2
    assert CmaEs()._restore_optimizer([create_trial(value=1.0)]) is None
