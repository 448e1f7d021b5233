"""Search dimensions of the command line: `choice(…)`, `interval(…)` and `range(…)` of Hydra's override syntax."""

from decimal import Decimal

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Sweep

from jaxrec.errors import InputError

Dimension = dict[str, object]  # of a search space, as written in conf/sweep


def is_dimension(override: Override) -> bool:
    """Return whether an override is `choice(…)`, `interval(…)` or `range(…)`; a plain `a,b` is a grid."""
    value = override.value()
    return isinstance(value, IntervalSweep | RangeSweep) or (isinstance(value, ChoiceSweep) and not value.simple_form)


def dimension(override: Override) -> Dimension:
    """Convert a command-line dimension to the format of conf/sweep; a range excludes its stop, as in Python."""
    value = override.value()
    assert isinstance(value, Sweep)
    line = str(override.input_line)
    _check_functions(value, line)
    log = "log" in value.tags
    match value:
        case ChoiceSweep():
            return {"choices": [getattr(item, "text", item) for item in value.list or []]}
        case RangeSweep(start=start, stop=stop, step=step):
            for cast in getattr(value, "transformers", ()):  # Hydra 1.4 casts the numbers of a range, 1.3 its bounds
                start, stop, step = cast(start), cast(stop), cast(step)
            if start is None or stop is None or not step or not (size := len(list(value.range()))):
                raise InputError(f"{line}: the range is empty: use range(START,STOP) with START below STOP")
            integer = all(isinstance(number, int) for number in (start, stop, step))
            number = int if integer else float
            ends = sorted(number(Decimal(str(start)) + place * Decimal(str(step))) for place in (0, size - 1))
            if not log:
                return {"low": ends[0], "high": ends[1], "integer": integer, "step": abs(step)}
            if integer and abs(step) == 1:
                return {"low": ends[0], "high": ends[1], "integer": True, "log": True}
            raise InputError(f"{line}: log and step cannot be combined: use tag(log,interval({ends[0]},{ends[1]}))")
        case IntervalSweep(start=start, end=end):
            integer = {type(start), type(end)} == {int}  # int(interval(1, 8)); without int(...) Hydra parses floats
            return {"low": start, "high": end, "log": log, "integer": integer}
    raise InputError(f"{line}: not a search space")


def _check_functions(value: Sweep, line: str) -> None:
    """Raise an InputError for a tag or a function that a search would ignore."""
    text = line.partition("=")[2]
    if unknown := sorted(value.tags - {"log"}):
        raise InputError(f"{line}: tag {unknown[0]} is unknown; the only tag is log: tag(log,interval(1e-4,1e-1))")
    if value.tags and isinstance(value, ChoiceSweep):
        raise InputError(f"{line}: log has no effect on a choice: use tag(log,interval(LOW,HIGH)) or omit it")
    if text.count("tag(") > bool(value.tags):  # Hydra drops tags inside a cast or another tag
        raise InputError(f"{line}: use one tag, outermost, e.g. tag(log,int(interval(1,100)))")
    if getattr(value, "shuffle", False) or "shuffle(" in text:
        raise InputError(f"{line}: shuffle has no effect in a search, which orders trials itself: omit it")
