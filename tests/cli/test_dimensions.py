"""Search dimensions of the command line: their meaning in Hydra, and errors for those that a search would ignore."""

import hydra
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from jaxrec.cli.dimensions import dimension, is_dimension
from jaxrec.errors import InputError

DROPS_TAGS = pytest.mark.skipif(not hydra.__version__.startswith("1.3."), reason="Hydra 1.4 keeps tags inside a cast")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("x=choice(16,32,64)", {"choices": [16, 32, 64]}),
        ("x=choice(a,b)", {"choices": ["a", "b"]}),
        ("x=interval(0.5,2)", {"low": 0.5, "high": 2, "log": False, "integer": False}),
        ("x=interval(1,8)", {"low": 1, "high": 8, "log": False, "integer": False}),
        ("x=int(interval(1,8))", {"low": 1, "high": 8, "log": False, "integer": True}),
        ("x=tag(log,interval(1e-4,1e-1))", {"low": 1e-4, "high": 1e-1, "log": True, "integer": False}),
        ("x=choice(a)", {"choices": ["a"]}),
        ("x=int(choice('1','2'))", {"choices": [1, 2]}),
        ("x=range(0,1,0.3)", {"low": 0.0, "high": 0.9, "integer": False, "step": 0.3}),
        ("x=range(0,0.3,0.1)", {"low": 0.0, "high": 0.2, "integer": False, "step": 0.1}),
        ("x=range(9,1,-2)", {"low": 3, "high": 9, "integer": True, "step": 2}),
        ("x=float(range(1,4))", {"low": 1.0, "high": 3.0, "integer": False, "step": 1.0}),
        ("x=tag(log,range(1,1001))", {"low": 1, "high": 1000, "integer": True, "log": True}),
        ("x=range(1,9)", {"low": 1, "high": 8, "integer": True, "step": 1}),
        ("x=range(1,9,3)", {"low": 1, "high": 7, "integer": True, "step": 3}),
    ],
)
def test_a_dimension_has_the_meaning_that_it_has_in_hydra(typed, expected):
    (override,) = OverridesParser.create().parse_overrides([typed])
    assert is_dimension(override)
    assert dimension(override) == expected


@pytest.mark.parametrize("typed", ["x=a,b", "x=1", "x=[1,2]"])
def test_plain_lists_are_not_dimensions(typed):
    (override,) = OverridesParser.create().parse_overrides([typed])
    assert not is_dimension(override)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("range(9,1)", "the range is empty"),
        ("range(1,9,0)", "the range is empty"),
        ("tag(lgo,interval(1,9))", "tag lgo is unknown; the only tag is log"),
        ("tag(int,interval(1,9))", "tag int is unknown"),
        ("tag(log,choice(1,9))", "log has no effect on a choice"),
        ("tag(log,range(1,9,2))", "log and step cannot be combined"),
        pytest.param("int(tag(log,range(1,9)))", "use one tag, outermost", marks=DROPS_TAGS),
        pytest.param("float(tag(lgo,choice(1,9)))", "use one tag, outermost", marks=DROPS_TAGS),
        ("shuffle(choice(1,9))", "shuffle has no effect"),
        ("shuffle(range(1,9))", "shuffle has no effect"),
    ],
)
def test_dimensions_that_a_search_would_ignore_are_refused(typed, message):
    (override,) = OverridesParser.create().parse_overrides([f"x={typed}"])
    with pytest.raises(InputError, match=message) as error:
        dimension(override)
    assert f"x={typed}" in str(error.value)
