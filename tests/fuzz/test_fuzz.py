"""A few cases of every target, the same each time; `python -m tests.fuzz` tries more."""

import time

import pytest

from jaxrec.errors import InputError
from tests.fuzz.reading import COLUMNS, FILES
from tests.fuzz.target import Target, damaged, limits
from tests.fuzz.targets import TARGETS

CASES = {"overrides": 50, "spaces": 50, "http": 50, "settings": 8, "damage": 10, "tampered": 6}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
def test_no_case_fails(name):
    TARGETS[name].run(CASES.get(name, 30), 1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
def test_many_cases(name):
    for number in range(20):
        TARGETS[name].run(500, number)


def test_a_failing_case_is_found_and_reproduced():
    """A reader that silently loses a row; the smallest table that shows it has one row."""
    found = []

    def check(case) -> None:
        found.append(case)
        assert len(case["rows"]) == 0

    for _ in range(2):
        with pytest.raises(AssertionError):
            Target(FILES.cases, check).run(100, 7)
    half = len(found) // 2
    assert found[:half] == found[half:]
    assert len(found[-1]["rows"]) == 1
    assert set(found[-1]["columns"]) <= set(COLUMNS)


def test_cases_are_limited(monkeypatch):
    monkeypatch.setattr("tests.fuzz.target.SECONDS", 0.05)
    with pytest.raises(TimeoutError, match=r"more than 0\.05 s"), limits():
        time.sleep(5)
    monkeypatch.setattr("tests.fuzz.target.MEMORY", -1)
    with pytest.raises(AssertionError, match="MiB of memory"), limits():
        pass


def test_damages():
    assert damaged(b"abcdef", [("replace", 1, b"xy"), ("cut", 4, b"")]) == b"axyd"
    assert damaged(b"abc", [("insert", 3, b"xy"), ("delete", 0, b"a")]) == b"bcxy"
    assert not issubclass(AssertionError, InputError)
