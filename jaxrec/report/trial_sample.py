"""Choice of the trials that a page draws, so that it stays small with any number of trials."""

import random
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

from jaxrec.sweep.objectives import value_of

N_BEST = N_OTHERS = 200


def sample(trials: Sequence[FrozenTrial], *, minimize: bool) -> list[FrozenTrial]:
    """Return the `N_BEST` best trials and `N_OTHERS` of the others at random, by number; all trials if that is as many.

    Complete trials are better than pruned ones. The choice is the same every time.
    """
    if len(trials) <= N_BEST + N_OTHERS:
        return list(trials)
    sign = 1 if minimize else -1
    ranked = sorted(trials, key=lambda t: (t.state != TrialState.COMPLETE, sign * (value_of(t) or 0.0), t.number))
    drawn = ranked[:N_BEST] + random.Random(0).sample(ranked[N_BEST:], N_OTHERS)
    return sorted(drawn, key=lambda trial: trial.number)


def sample_note(n_trials: int) -> str:
    """Return what a page shows of that many trials; empty if all."""
    if n_trials <= N_BEST + N_OTHERS:
        return ""
    return f"Shown are the {N_BEST} best of {n_trials:,} trials and a random sample of {N_OTHERS} others."
