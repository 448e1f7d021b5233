"""`jaxrec COMMAND --help`: the choices of a command, and its settings with their values and comments."""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from jaxrec.cli.options import path_options
from jaxrec.config import composed
from jaxrec.settings import CONF, read

WIDTH, COLUMN = 110, 28  # of the text, and of the comments in it
_KEY = re.compile(r"( *)([A-Za-z_]\w*):(?: .*)?$")
_COMMENT = re.compile(r"(?:(?<=\s)|^)# ?(.*)$")
_PACKAGE = re.compile(r"^# @package (\S+)", re.MULTILINE)


def help_text(config_name: str, arguments: Sequence[str], title: str | None = None) -> str:
    """Return the help of a command.

    Args:
        config_name: its file in conf/.
        arguments: its command line; settings are shown for the choices in it, e.g. model=sasrec, but not for those of
            which several are to be tried.
        title: usage and purpose of the command; None: the comment at the top of its file.
    """
    options = path_options(arguments)
    folders = [CONF, *([Path(options.config_dir)] if options.config_dir else [])]
    config = CONF / f"{config_name}.yaml"
    groups = list(_groups(config))
    typed = [text for text in arguments if "=" in text and not text.startswith("-")]
    parsed = OverridesParser.create().parse_overrides(typed)
    overrides = [text for text, override in zip(typed, parsed, strict=True) if not override.is_sweep_override()]
    overrides += [f"hydra.searchpath=[{','.join(f'file://{folder.absolute()}' for folder in folders[1:])}]"]
    tree = OmegaConf.to_container(composed(overrides, config_name, with_hydra=True), resolve=False)
    assert isinstance(tree, dict)
    chosen = {key: name for key, name in tree.pop("hydra")["runtime"]["choices"].items() if name is not None}
    headers: dict[str, list[str]] = {}
    header, comments = _of_choice(folders, config, "")
    for key, name in chosen.items():
        group, _, package = key.partition("@")
        if (file := _file(folders, group, name)) is not None:
            headers[group], own = _of_choice(folders, file, package or group.replace("/", "."))
            comments |= own
    parts = ["\n".join(header) if title is None else title]
    if groups:
        parts += [f"Choices (GROUP=CHOICE), * for the ones below:\n\n{_choices(groups, folders, chosen)}"]
    parts += [
        "Settings (KEY=VALUE) and their values:",
        "\n".join(_settings({str(key): tree[key] for key in tree}, headers, comments)).rstrip(),
    ]
    return "\n\n".join(parts)


def _groups(config: Path) -> Iterator[str]:
    """Yield the config groups that a command reads a choice from."""
    for entry in read(config)["defaults"]:
        if isinstance(entry, dict):
            yield from (group for group in entry if not group.startswith(("override ", "optional ")))
        elif entry != "_self_":
            yield from _groups(config.with_name(f"{entry}.yaml"))


def _file(folders: Sequence[Path], group: str, name: str) -> Path | None:
    return next((file for folder in folders if (file := folder / group / f"{name}.yaml").is_file()), None)


def _choices(groups: Sequence[str], folders: Sequence[Path], chosen: Mapping[str, str]) -> str:
    """Return the choices of each group, with a mark at the current one."""
    lines = []
    for group in groups:
        names = sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml")})
        marked = " ".join(f"{name}*" if name == chosen.get(group) else name for name in names)
        lines += textwrap.wrap(marked, WIDTH, initial_indent=f"  {group:<12}", subsequent_indent=" " * 14)
    return "\n".join(lines)


def _settings(
    tree: Mapping[str, object], headers: Mapping[str, Sequence[str]], comments: Mapping[str, str]
) -> Iterator[str]:
    """Yield settings as lines of YAML with comments; each choice starts with the comment at the top of its file."""
    for key, value in tree.items():
        yield from (f"# {line}".rstrip() for line in headers.get(key, ()))
        yield from _lines({key: value}, comments)
        if isinstance(value, dict):
            yield ""


def _lines(
    tree: Mapping[str, object], comments: Mapping[str, str], within: str = "", indent: str = ""
) -> Iterator[str]:
    for key, value in tree.items():
        is_tree = isinstance(value, dict) and bool(value)
        text = f"{indent}{key}:" if is_tree else f"{indent}{key}: {_flow(value)}"
        if comment := comments.get(f"{within}{key}"):
            start = f"{text:<{COLUMN - 2}}  # "
            rest = " " * COLUMN + "#   "
            yield from textwrap.wrap(start + comment, max(WIDTH, len(start) + 40), subsequent_indent=rest)
        else:
            yield text
        if isinstance(value, dict):
            yield from _lines(value, comments, f"{within}{key}.", f"{indent}  ")


def _flow(value: object) -> str:
    """Return a value as YAML in one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).removesuffix("\n...\n").strip()


def _of_choice(folders: Sequence[Path], file: Path, package: str) -> tuple[list[str], dict[str, str]]:
    """Return the header of the file of a choice, and the comments of its settings and of the files it is based on."""
    text = file.read_text(encoding="utf-8")
    comments: dict[str, str] = {}
    group = next(file.parent.relative_to(folder) for folder in folders if file.is_relative_to(folder))
    for base in (read(file) or {}).get("defaults", ()):
        if isinstance(base, str) and (below := _file(folders, str(group), base)) is not None:
            comments |= _of_choice(folders, below, package)[1]
    if match := _PACKAGE.search(text):
        package = "" if match[1] == "_global_" else match[1]
    header, own = _comments(text, f"{package}." if package else "")
    return header, comments | own


def _comments(text: str, prefix: str) -> tuple[list[str], dict[str, str]]:
    """Return the comment at the top of a YAML file, and the comments next to and above its keys."""
    header: list[str] = []
    comments: dict[str, str] = {}
    path: list[tuple[int, str]] = []  # indentation and name of the key, and of those around it
    above: list[str] = []
    last, column = None, -1
    for line in text.splitlines():
        comment = _COMMENT.search(line)
        if line.lstrip().startswith("#") and comment is not None:
            if not path:
                header += [] if "@package" in line else [comment[1]]
            elif last is not None and comment.start() == column:
                comments[last] += " " + comment[1].strip()
            else:
                above.append(comment[1])
            continue
        if (key := _KEY.match(line)) is None:
            above = []  # a comment on an entry of a list
            continue
        path = [(indent, name) for indent, name in path if indent < len(key[1])] + [(len(key[1]), key[2])]
        last, column = prefix + ".".join(name for _, name in path), comment.start() if comment else -1
        if texts := [*above, *([comment[1]] if comment else [])]:
            comments[last] = " ".join(texts)
        above = []
    return header, comments
