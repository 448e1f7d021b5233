"""Shell commands with correctly quoted overrides, for Hydra and for the shell."""

import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parent.parent
T = TypeVar("T")

_WORDS = {"null", "true", "false", "inf", "nan", "none"}  # texts that Hydra does not parse as strings


def value_text(value: object) -> str:
    """Format a value so that Hydra's command line parses it with its type; ambiguous strings are quoted.

    NumPy's numbers and arrays, and what has their method `tolist`, are formatted as the numbers and lists of Python.
    """
    if (to_list := getattr(value, "tolist", None)) is not None:
        value = to_list()
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{value_text(key)}:{value_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(value_text, value)) + "]"
    text = str(value)
    if re.fullmatch(r"[A-Za-z_/][\w./@+-]*", text, re.ASCII) and text.lower() not in _WORDS:
        return text
    # Within quotes, backslashes are special only before a quote or at the end.
    text = escaped(text)
    return '"' + re.sub(r'(\\*)("|$)', lambda match: match[1] * 2 + (r"\"" if match[2] else ""), text) + '"'


def escaped(value: T) -> T:
    """Escape a value or tree against OmegaConf interpolation: `${` becomes `\\${`."""
    return _in_text(value, lambda text: re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", text))


def unescaped(value: T) -> T:
    """Undo `escaped` for values read without OmegaConf."""
    return _in_text(value, lambda text: re.sub(r"(\\+)\$\{", lambda match: "\\" * (len(match[1]) // 2) + "${", text))


def _in_text(value: object, change: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _in_text(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_in_text(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def override(key: str, value: object) -> str:
    """Return `key=value` in Hydra syntax, for an argument list or a file of overrides."""
    return f"{key}={value_text(value)}"


def keys_of(overrides: Iterable[str]) -> set[str]:
    """Return the keys that overrides set; the + of a new one is not part of its key."""
    return {text.partition("=")[0].lstrip("+") for text in overrides}


def advice(key: str, value: object) -> str:
    """Return `key=value` quoted for the shell."""
    return shlex.quote(override(key, value))


def command(name: str, *arguments: str) -> str:
    """Return the shell command `jaxrec NAME ARGUMENTS` for the current directory.

    It uses the same program as this process: a script of a checkout, or `jaxrec`.
    """
    return shlex.join([*_started_as(name), *arguments])


def _started_as(name: str) -> list[str]:
    started = Path(sys.argv[0])
    if started.suffix == ".py" and started.resolve().parent == ROOT / "scripts":
        script = Path("scripts") / f"{name}.py"
        return ["python", str(script if Path.cwd() == ROOT else ROOT / script)]
    if started.name == "jaxrec" and shutil.which("jaxrec") != str(started):
        return [str(started), name]  # in an environment that is not activated
    return ["jaxrec", name]
