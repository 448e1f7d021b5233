"""Provenance of results: sizes of the data, versions and hardware."""

import jax

from jaxrec.data.splits.fingerprint import fingerprint
from jaxrec.data.splits.split import Split
from jaxrec.settings import Tree


def facts(split: Split) -> Tree:
    """Return sizes and fingerprint of the data, notes of the split, and counts of rows repaired while reading."""
    train, validation = split.selection.train, split.selection.validation
    held_out = 0 if validation is None else len(validation.target)
    sizes = {"train": len(train), "validation": held_out, "test": len(split.test.target)}
    counts = {"users": train.n_users, "items": train.n_items, "interactions": sum(sizes.values()), **sizes}
    return {**counts, **split.notes, "fingerprint": fingerprint(split), "reading": dict(train.notes)}


def environment(placement: str) -> Tree:
    """Return versions and hardware, for reproducibility."""
    import platform

    import jaxlib

    from jaxrec import __version__

    device = jax.devices()[0]
    return {
        "jaxrec": __version__,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "backend": device.platform,
        "device": device.device_kind,
        "machine": platform.machine(),
        "devices": jax.device_count(),
        "placement": placement,
    }
