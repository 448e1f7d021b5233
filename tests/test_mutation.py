"""The table of mutation testing: its modules and tests exist, and no module of its packages is missing."""

from pathlib import Path

import pytest

from tests.mutation import GROUPS, ROOT, mutants

PACKAGES = ("data/splits", "evaluation", "fitting", "negatives")


@pytest.mark.parametrize("group", GROUPS)
def test_modules_and_tests_of_a_group_exist(group):
    for module, tests in GROUPS[group].items():
        assert (ROOT / f"jaxrec/{module}.py").is_file(), module
        assert all((ROOT / "tests" / name).exists() for name in tests), (module, tests)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_of_a_package_is_missing(package):
    modules = {
        f"{package}/{path.stem}" for path in Path(ROOT, "jaxrec", package).glob("*.py") if path.stem != "__init__"
    }
    assert modules <= {module for tests in GROUPS.values() for module in tests}


def test_a_comparison_has_one_mutant():
    (mutant,) = mutants("metrics", b"def smaller(a, b):\n    return a < b\n")
    assert (mutant.line, mutant.before, mutant.after) == (2, "a < b", "(a <= b)")
