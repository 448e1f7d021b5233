"""Strong generalization: users nobody trains on, who are known by some of what they did and asked for the rest."""

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeInt

from jaxrec.arguments import checked_by
from jaxrec.data.interactions import Interactions, targets
from jaxrec.data.splits.split import (
    KNOWN,
    TEST,
    TRAIN,
    VALIDATION,
    Fraction,
    Split,
    assembled,
    check_fractions,
    ranks,
    rounded,
    unsplit,
    with_history,
)


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
    """Holds out users, drawn at random, instead of interactions.   [Marlin 2004; Liang et al. 2018]

    validation_fraction, test_fraction: shares of the users with at least two interactions, halves rounded up
    known_fraction: share of a held-out user's interactions that is known when the user is asked about (the fold-in),
                    halves rounded up; at least one is known and one is sought
    known_by:       which are known: the earliest by `time` (ties, and data without times, in file order), or `random`

    No row of a held-out user is trained on, with one exception: with `refit`, those of validation users are, all of
    them. Rows that are history only are known where they lie before the first interaction sought.
    """
    check_fractions(validation_fraction, test_fraction)
    unsplit(interactions)
    wanted = targets(interactions)
    rng = np.random.default_rng(seed)
    count = np.bincount(wanted.user, minlength=interactions.n_users)
    drawn = rng.permutation(np.flatnonzero(count >= 2))
    n_test, n_validation = (int(rounded(len(drawn), share)) for share in (test_fraction, validation_fraction))
    part_of = np.full(interactions.n_users, TRAIN, np.int8)
    part_of[drawn[:n_test]] = TEST
    part_of[drawn[n_test : n_test + n_validation]] = VALIDATION

    rank, _ = ranks(wanted, wanted.time if known_by == "time" else rng.random(len(wanted)))
    n_known = np.clip(rounded(count, known_fraction), 1, np.maximum(count - 1, 1))
    part = with_history(interactions, np.where(rank < n_known[wanted.user], TRAIN, part_of[wanted.user]))
    # What is known of a user is in train by now; nobody trains on a held-out user's.
    owner = part_of[interactions.user]
    part = np.where((owner != TRAIN) & (part == TRAIN), owner + KNOWN, part).astype(np.int8)
    return replace(assembled(interactions, part, validated=validation_fraction > 0), random=True)
