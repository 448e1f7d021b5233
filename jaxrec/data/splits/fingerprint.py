"""Fingerprint of the interactions behind a fit: what was trained on other data is not continued."""

import hashlib
import itertools
from weakref import WeakKeyDictionary

import numpy as np

from jaxrec.data.interactions import COLUMNS
from jaxrec.data.splits.assembly import Selection, Split


def fingerprint(data: Selection | Split) -> str:
    """Return a hash of the interactions in all parts, and of the numbers of users and items.

    Features and the spelling of ids are not part of it.
    """
    if data not in _fingerprints:  # every group of a grid asks, and large data takes seconds
        _fingerprints[data] = _hash(data)
    return _fingerprints[data]


_fingerprints: WeakKeyDictionary[Selection | Split, str] = WeakKeyDictionary()


def _hash(data: Selection | Split) -> str:
    selection, held = (data.selection, [data.test]) if isinstance(data, Split) else (data, [])
    train, validation = selection.train, selection.validation
    held = held if validation is None else [validation, *held]
    digest = hashlib.blake2b(repr((train.n_users, train.n_items)).encode(), digest_size=8)
    for part, name in itertools.product([train, *(p for h in held for p in (h.known, h.target))], COLUMNS):
        column = getattr(part, name)
        digest.update(f"{name} {column is not None} {len(part)};".encode())
        if column is not None:
            digest.update(np.ascontiguousarray(column).view(np.uint8))
    return digest.hexdigest()
