"""Fingerprint of the interactions behind a fit: what was trained on other data is not continued."""

import hashlib
import itertools
from weakref import WeakKeyDictionary

import numpy as np

from jaxrec.data.interactions import COLUMNS
from jaxrec.data.splits.assembly import Selection


def fingerprint(selection: Selection) -> str:
    """Return a hash of the interactions in train and validation, and of the numbers of users and items.

    Features and the spelling of ids are not part of it.
    """
    if selection not in _fingerprints:  # every group of a grid asks, and large data takes seconds
        _fingerprints[selection] = _hash(selection)
    return _fingerprints[selection]


_fingerprints: WeakKeyDictionary[Selection, str] = WeakKeyDictionary()


def _hash(selection: Selection) -> str:
    train, validation = selection.train, selection.validation
    parts = [train] if validation is None else [train, validation.known, validation.target]
    digest = hashlib.blake2b(repr((train.n_users, train.n_items)).encode(), digest_size=8)
    for part, name in itertools.product(parts, COLUMNS):
        column = getattr(part, name)
        digest.update(f"{name} {column is not None} {len(part)};".encode())
        if column is not None:
            digest.update(np.ascontiguousarray(column).view(np.uint8))
    return digest.hexdigest()
