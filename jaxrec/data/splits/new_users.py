"""Strong generalization: evaluation on users outside the training set, given part of their interactions."""

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeInt

from jaxrec.arguments import checked_by
from jaxrec.data.interactions import Interactions, targets
from jaxrec.data.splits.assembly import (
    KNOWN,
    TEST,
    TRAIN,
    VALIDATION,
    Split,
    assembled,
    check_unsplit,
    ranks,
    with_history,
)
from jaxrec.data.splits.split import Fraction, check_fractions, rounded


@checked_by(check_fractions)
def new_users(
    interactions: Interactions,
    *,
    validation_fraction: Fraction = 0.1,
    test_fraction: Fraction = 0.1,
    known_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.8,
    known_by: Literal["time", "random"] = "time",
    seed: NonNegativeInt = 0,
) -> Split:
    """Hold out users, drawn at random, instead of interactions.   [Marlin 2004; Liang et al. 2018]

    No interaction of a held-out user is in train, except that with `refit` validation users are trained on.
    History-only rows are known if they precede the user's first held-out interaction.

    Args:
        interactions: data that is not split yet.
        validation_fraction, test_fraction: shares of the users with at least two interactions, halves rounded up.
        known_fraction: share of a held-out user's interactions that is known (the fold-in part), halves rounded up;
            at least one is known and at least one is held out.
        known_by: which interactions are known: the earliest by `time` (file order on ties and without times), or
            `random` ones.
        seed: seed of the draw.
    """
    check_fractions(validation_fraction, test_fraction)
    check_unsplit(interactions)
    target_rows = targets(interactions)
    rng = np.random.default_rng(seed)
    count = np.bincount(target_rows.user, minlength=interactions.n_users)
    users = rng.permutation(np.flatnonzero(count >= 2))
    n_test, n_validation = (int(rounded(len(users), share)) for share in (test_fraction, validation_fraction))
    part_of = np.full(interactions.n_users, TRAIN, np.int8)
    part_of[users[:n_test]] = TEST
    part_of[users[n_test : n_test + n_validation]] = VALIDATION

    rank, _ = ranks(target_rows, None if known_by == "time" else rng.random(len(target_rows)))
    n_known = np.clip(rounded(count, known_fraction), 1, np.maximum(count - 1, 1))
    part = with_history(interactions, np.where(rank < n_known[target_rows.user], TRAIN, part_of[target_rows.user]))
    # Known rows of held-out users are in TRAIN at this point; they must not be trained on.
    owner = part_of[interactions.user]
    part = np.where((owner != TRAIN) & (part == TRAIN), owner + KNOWN, part).astype(np.int8)
    return replace(assembled(interactions, part, validated=validation_fraction > 0), random=True)
