"""Settings: a composed configuration as a plain tree of dicts; its validation, objects and populations."""

from jaxrec.settings.building import build, call, register_object
from jaxrec.settings.checking import check
from jaxrec.settings.files import (
    COMMAND_KEYS,
    CONF,
    check_registered,
    choice_of,
    import_targets,
    read,
    register,
    registered,
)
from jaxrec.settings.replicas import by_fold, fold_of, is_random, seeds_differ, with_seeds, without_replica
from jaxrec.settings.schedule import SCHEDULE
from jaxrec.settings.shared_programs import numbers_of, populations, program_of
from jaxrec.settings.tree import Tree, differing, flat, get, put, target_name, tuples

__all__ = [
    "COMMAND_KEYS",
    "CONF",
    "SCHEDULE",
    "Tree",
    "build",
    "by_fold",
    "call",
    "check",
    "check_registered",
    "choice_of",
    "differing",
    "flat",
    "fold_of",
    "get",
    "import_targets",
    "is_random",
    "numbers_of",
    "populations",
    "program_of",
    "put",
    "read",
    "register",
    "register_object",
    "registered",
    "seeds_differ",
    "target_name",
    "tuples",
    "with_seeds",
    "without_replica",
]
