"""Commands to paste: a value quoted for Hydra, its override quoted for the shell, on top of that."""

import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
_WORDS = {"null", "true", "false", "inf", "nan", "none"}  # what Hydra reads as something other than a string


def value_text(value: Any) -> str:
    """A value as Hydra's command line reads it back with its type; a string that could be misread is quoted."""
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
    # Within quotes a backslash counts only before a quote or the end.
    text = escaped(text)
    return '"' + re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + (r"\"" if found[2] else ""), text) + '"'


def escaped(value: Any) -> Any:
    """A value, or a tree of them, in which OmegaConf interpolates nothing: `${` becomes `\\${`."""
    return _in_text(value, lambda text: re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", text))


def unescaped(value: Any) -> Any:
    """Undoes `escaped` in what was read without OmegaConf."""
    return _in_text(value, lambda text: re.sub(r"(\\+)\$\{", lambda found: "\\" * (len(found[1]) // 2) + "${", text))


def _in_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _in_text(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_in_text(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def override(key: str, value: Any) -> str:
    """`key=value` as Hydra reads it, for a list of arguments or a file of overrides."""
    return f"{key}={value_text(value)}"


def advice(key: str, value: Any) -> str:
    """`key=value` to paste into a shell."""
    return shlex.quote(override(key, value))


def command(name: str, *arguments: str) -> str:
    """The shell command `jaxrec NAME ARGUMENTS`, to paste in the present directory.

    It is spelled as this process was started: by the script of a checkout, or by `jaxrec`.
    """
    return shlex.join([*_started_as(name), *arguments])


def _started_as(name: str) -> list[str]:
    started = Path(sys.argv[0])
    if started.suffix == ".py" and started.resolve().parent == ROOT / "scripts":
        script = Path("scripts") / f"{name}.py"
        return ["python", str(script if Path.cwd() == ROOT else ROOT / script)]
    if started.name == "jaxrec" and shutil.which("jaxrec") != str(started):
        return [str(started), name]  # of an environment that is not activated
    return ["jaxrec", name]
