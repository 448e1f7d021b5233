"""Commands in README, docs and conf, overrides in messages, and Python in docs.

All commands can be composed; commands and Python of the docs are executed on tiny data.
"""

import ast
import html
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import hydra
import numpy as np
import pandas as pd
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from omegaconf import OmegaConf

from jaxrec.cli.commands import COMMANDS
from jaxrec.cli.start import arguments_of
from jaxrec.data.sources import synthetic_retailrocket
from jaxrec.settings import CONF, check
from tests.paths import ROOT

DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FILES = [*DOCS, ROOT / "benchmarks" / "README.md", *sorted(CONF.rglob("*.yaml")), *sorted((ROOT / "scripts").glob("*"))]
CONFIGS = {path.stem: path.stem for path in CONF.glob("*.yaml")} | {"train": "config"}
NAMES = "|".join(CONFIGS)
COMMAND = re.compile(
    r"^(?:.*&& |[A-Z_]+=\S+ )?(?:\S*python |uv run )?\S*(?:scripts/(?=\w+\.py)|jaxrec )"
    rf"({NAMES})(?:\.py)?(?=[\s:]|$)(.*)"
)
ABBREVIATED = {"OR": "experiment=online_retail_time", "CJ": "experiment=complete_journey_time"}  # in headers of conf


class Command(NamedTuple):
    """A command: its file, the script or subcommand, its arguments."""

    path: Path
    script: str
    words: list[str]


def blocks(path: Path) -> list[str]:
    """Return the code in a file: fenced shell blocks and `code` of Markdown, comments of YAML, code in docstrings."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        lines = [line[1:].removeprefix(" ").strip() for line in text.splitlines() if line.startswith("#")]
        return ["\n".join(f"jaxrec train {line}" if line.startswith("--multirun") else line for line in lines)]
    fenced = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return fenced + re.findall(r"(?<!`)`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def lines_of(block: str) -> list[str]:
    """Return the lines of a block without comments, with continued lines joined."""
    return [re.sub(r"(^|\s)# .*$", "", line) for line in re.sub(r"\\\n\s*", " ", block).splitlines()]


def command_of(line: str) -> tuple[str, str] | None:
    """Return the script or subcommand in a line, and its arguments; None without one."""
    found = COMMAND.search(line)
    return (found[1], found[2]) if found else None


def commands(paths: list[Path]) -> Iterator[Command]:
    for path in paths:
        for block in blocks(path):
            variables: dict[str, str] = {}
            for line in lines_of(block):
                if re.match(r"[A-Z]+=", line) and not command_of(line):
                    variables |= dict(word.split("=", 1) for word in shlex.split(line))
                elif found := command_of(line):
                    arguments = re.sub(r"\$([A-Z]+)", lambda name, known=variables: known[name[1]], found[1])
                    arguments = re.sub(r"^\s*([A-Z]{2})\b|(?<=--multirun )([A-Z]{2})\b", _whole, arguments)
                    arguments = re.sub(r"(?<=\w),? and$|:\s.*$|,$| , and$", "", arguments)
                    words = [word for word in shlex.split(arguments) if not re.search(r"…|\.\.\.|^\[", word)]
                    yield Command(path, found[0], words)


def distinct(found: Iterator[Command]) -> list[Command]:
    """Return the first of equal commands."""
    return list({(c.script, *c.words, c.path.suffix == ".md"): c for c in reversed([*found])}.values())[::-1]


def _whole(found: re.Match) -> str:
    return ABBREVIATED[found[1] or found[2]]


def overrides_of(words: list[str]) -> list[str]:
    """Return the overrides among the words, with the first value of sweeps."""
    parsed = OverridesParser.create().parse_overrides([w for w in words if not w.startswith("-")])
    firsts = []
    for o in parsed:
        if o.is_sweep_override():
            value = o.value()
            first = value.start if isinstance(value, IntervalSweep) else next(iter(o.sweep_string_iterator()))
            firsts.append(f"{o.get_key_element()}={first}")
        else:
            firsts.append(str(o.input_line))
    return firsts


def check_settings(compose, script: str, words: list[str]) -> None:
    """Compose a command; an unknown or missing setting, or one of the wrong type, is an error."""
    words = arguments_of(script, words)
    if script == "train":
        check(compose(*overrides_of(words)))
        return
    named = ["out=X"] if script == "explore" else []  # Hydra sets its default at run time
    assert not OmegaConf.missing_keys(hydra.compose(CONFIGS[script], [*overrides_of(words), *named]))


def label(command: Command) -> str:
    return f"{command.path.name}: {command.script} {' '.join(command.words)}"[:100]


def long_unless_in_readme(command: Command) -> list[pytest.MarkDecorator]:
    """Commands of README are composed by default, those of other files by `pytest -m slow`."""
    return [] if command.path.name == "README.md" else [pytest.mark.slow]


COMPOSED = [c for c in distinct(commands(FILES)) if "--config-dir" not in c.words]  # tested in test_extending.py


@pytest.mark.parametrize("command", [pytest.param(c, id=label(c), marks=long_unless_in_readme(c)) for c in COMPOSED])
def test_it_composes(compose, command):
    words = [word.replace("STEP", "mmr") for word in command.words]
    if command.path.suffix != ".md":  # its first line names a script, without all required settings
        config = OmegaConf.load(CONF / f"{CONFIGS[command.script]}.yaml")
        given = {word.split("=")[0] for word in words}
        words = [word for word in words if "=" in word or word.startswith("-")]
        words += [f"{key}=X" for key in config if OmegaConf.is_missing(config, key) and key not in given]
    check_settings(compose, command.script, [] if "--cfg" in words else words)


def test_every_script_is_documented_with_a_command():
    assert {command.script for command in commands(DOCS)} == set(COMMANDS)


# Overrides in messages.


def suggestions() -> set[str]:
    """Return `key=value` in string literals other than docstrings, unless part of it is filled in at run time."""
    found = set()
    for path in sorted((ROOT / "jaxrec").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        within = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
                found |= overrides_in("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (docs | within):
                found |= overrides_in(node.value)
    return found


KEY = r"[a-z_]+(?:\.[a-z_]+)*"
TOPS = {entry.name.partition(".")[0] for entry in CONF.iterdir()} | {
    key for path in CONF.glob("*.yaml") for key in yaml.safe_load(path.read_text(encoding="utf-8"))
}


def overrides_in(text: str) -> set[str]:
    """Return the overrides in a sentence, quoted for a shell or as words; not `model=mf or ease` or placeholders."""
    if "=" not in text or "<" in text:  # HTML
        return set()
    quoted = re.findall(rf"'({KEY}=[^'\0…]+)'", text)
    plain = re.findall(rf"(?<![\w.\0'=/]){KEY}=(?:\[[^\]\0]*\]|[\w./:-]*\w)(?![\w\0…=(\[{{])", text)
    return {o for o in (*quoted, *plain) if o.split("=")[0].split(".")[0] in TOPS and not re.search(r"[A-Z…]", o)}


def places_of(key: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the scripts, and choices of a group, in which a key may exist."""
    group, _, rest = key.partition(".")
    choices = sorted((CONF / group).glob("*.yaml")) if rest else []
    for script in ("train", "pipeline", "recommend", "export", "mine", "serve", "study", "explore", "benchmark"):
        for choice in choices:
            if rest.split(".")[0] in choice.read_text(encoding="utf-8"):
                yield script, [f"{group}={choice.stem}"]
        yield script, []


def errors_of(override: str) -> list[str]:
    """Return why an override is not a setting of any command; empty if some command has it."""
    key, value = override.split("=", 1)
    if (CONF / key / f"{value}.yaml").exists():
        return []
    errors = []
    for script, chosen in places_of(key):
        try:
            hydra.compose(CONFIGS[script], [*chosen, *overrides_of([override])])
            return []
        except Exception as error:
            errors.append(f"{override}: {script} {chosen}: {error}")
    return errors


@pytest.mark.usefixtures("compose")
@pytest.mark.slow
def test_what_messages_suggest_are_settings():
    suggested = suggestions()
    assert len(suggested) > 50
    assert [error for override in sorted(suggested) for error in errors_of(override)] == []


# Commands of documents, pasted into a shell, on tiny data.

FILLED = {
    "TRAIN": "train.parquet",
    "TEST": "test.parquet",
    "FILMS": "items.csv",
    "FILE": "retail.csv",
    "KINDS": "kinds.csv",
    "STEP": "mmr",
    "NAME": "tiny",
    "trial=7": "trial=0",
    "out=FOLDER": "out=exported",
    "outputs/sweeps/shop/best": "RUN_DIR",
    "outputs/runs/RUN": "RUN_DIR",
    "outputs/sweeps/STUDY trial=3": "outputs/sweeps/tiny trial=1",
}
NOT_RUN = (
    "scripts/serve.py",
    "jaxrec serve",
    "data.version=",
    "target=h200",  # compilers of other devices are not installed
    "peer=",  # other libraries are not installed
    "resume=",  # of an unfinished run: see test_an_interrupted_run_prints_how_to_continue
    "--help",
    "--config-dir",  # with files of the page: see test_extending.py
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder with every file named in documents, two runs and a study."""
    folder = tmp_path_factory.mktemp("pasted")
    (folder / "scripts").symlink_to(ROOT / "scripts")
    rng = np.random.default_rng(0)
    user, item = np.divmod(rng.permutation(200 * 600)[:6000], 600)
    day = pd.Timestamp("2009-12-01") + pd.to_timedelta(rng.integers(0, 370 * 86400, 6000), unit="s")
    rows = pd.DataFrame({"user_id": user, "item_id": item, "rating": rng.integers(1, 6, 6000)})
    rows.assign(customer=user, sku=item, date=day).to_csv(folder / "orders.csv", index=False)
    rows.to_parquet(folder / "amazon-beauty-sequences.parquet")
    rows[::5].to_parquet(folder / "test.parquet")
    rows.drop(rows.index[::5]).to_parquet(folder / "train.parquet")
    np.savetxt(folder / "Beauty.txt", rows[["user_id", "item_id"]], "%d")
    everything = pd.MultiIndex.from_product([range(200), range(20)], names=["user_id", "item_id"])
    everything.to_frame().to_csv(folder / "negatives.csv", index=False)
    catalog = pd.DataFrame({"sku": range(600), "title": "tea", "category": "drinks"})
    catalog.to_csv(folder / "catalog.csv", index=False)
    about = {"item_id": range(600), "brand": rng.integers(0, 9, 600), "year": rng.integers(1990, 2009, 600)}
    tags = [f"t{a}|t{b}" for a, b in rng.integers(0, 5, (600, 2))]
    pd.DataFrame({**about, "tags": tags, "genres": tags}).to_csv(folder / "items.csv", index=False)
    pd.DataFrame({"item_id": range(10000, 10120), "kind": ["BAG", "BOX"] * 60}).to_csv(
        folder / "kinds.csv", index=False
    )
    start = np.repeat(rng.integers(0, 60 * 86400, 500), 4) + np.tile([0, 60, 120, 180], 500)
    views = {"user_id": np.repeat(rng.integers(0, 50, 500), 4), "item_id": rng.integers(0, 30, 2000)}
    pd.DataFrame({**views, "timestamp": 1_400_000_000 + start}).to_csv(folder / "views.csv", index=False)
    kinds = np.tile(["view", "view", "cart", "buy"], 500)
    pd.DataFrame({**views, "time": 1_400_000_000 + start, "event": kinds}).to_csv(folder / "events.csv", index=False)
    shown = {
        "user_id": rng.integers(0, 200, 8000),
        "item_id": rng.integers(0, 60, 8000),
        "position": rng.integers(1, 5, 8000),
    }
    clicked = (rng.random(8000) < 0.6 / shown["position"]).astype(int)
    pd.DataFrame({**shown, "clicked": clicked}).to_csv(folder / "log.csv", index=False)
    bought = pd.DataFrame(
        {"Invoice": 489434 + np.arange(6000), "StockCode": 10000 + item % 120, "Description": "RED BAG"}
    )
    bought = bought.assign(Quantity=1, InvoiceDate=day, Price=1.5, **{"Customer ID": user, "Country": "EIRE"})
    bought.to_csv(folder / "retail.csv", index=False)
    bought.astype({"StockCode": str}).to_parquet(folder / "retail.parquet")
    synthetic_retailrocket.write(folder / "FOLDER", 30000, 3000, 300, 3000, 30)
    data = "data=files data.path=orders.csv data.item_features=items.csv 'data.multi_valued=[genres]'"
    paste(folder, f"python scripts/train.py {data} model=ease hydra.run.dir=RUN_DIR")
    paste(folder, f"python scripts/train.py {data} model=popularity hydra.run.dir=RUN2")
    search = "--multirun sweep=ease sweep.n_trials=2 sweep.study_name=tiny"
    paste(folder, f"python scripts/train.py {search} data=files data.path=orders.csv")
    return folder


def paste(folder: Path, script: str) -> str:
    """Run lines in a new shell; return their output."""
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": paths}
    done = subprocess.run(
        ["bash", "-ec", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def tiny(compose, line: str, variables: dict[str, str]) -> str:
    """Return the line with settings that keep it small: other data if it names none, one epoch, two trials."""
    script, arguments = command_of(line) or ("", "")
    if script == "benchmark":
        more = "repeats=1 trainer.epochs=1"
        if "data=" not in arguments:
            more += " data.n_users=60 data.n_items=200 data.n_interactions=1000"
        if "sweep=" in arguments:
            more += " sweep.n_trials=2 sweep.population=2"
        return f"{line} {more}"
    if script != "train":
        return line
    words = shlex.split(re.sub(r"\$([A-Z]+)", lambda name: variables[name[1]], arguments))
    more = []
    if not any(word.startswith(("data", "split=given", "experiment=")) for word in words):
        more += ["data=files", "data.path=orders.csv"]
    if "epochs" in compose(*overrides_of([*words, *more]))["trainer"]:
        more += ["trainer.epochs=2" if "sweep.strategy=pbt" in arguments else "trainer.epochs=1"]
    if re.search(r"sweep=|choice\(|interval\(", arguments):
        more += ["sweep.n_trials=2", "sweep.population=2"]
    return f"{line} {' '.join(more)}"


def scripts_to_paste() -> Iterator:
    for path in (*DOCS, ROOT / "benchmarks" / "README.md"):
        for number, block in enumerate(blocks(path)):
            for key, value in FILLED.items():
                block = re.sub(rf"\b{key}\b", value, block)
            lines = [line for line in lines_of(block) if "…" not in line and not any(text in line for text in NOT_RUN)]
            kept = [line for line in lines if re.match(r"python scripts/|jaxrec [a-z]|[A-Z]+=", line)]
            if any(command_of(line) for line in kept):
                yield pytest.param(kept, id=f"{path.relative_to(ROOT).as_posix()}-{number}")


@pytest.mark.slow
@pytest.mark.parametrize("lines", list(scripts_to_paste()))
def test_pasted_into_a_shell_it_works(compose, folder, lines):
    variables: dict[str, str] = {}
    pasted = []
    for line in lines:
        if not command_of(line):
            variables |= dict(word.split("=", 1) for word in shlex.split(line))
        pasted.append(tiny(compose, line, variables))
    paste(folder, "\n".join(pasted))


READ = 'jaxrec.Dataset.read("orders.csv", user="customer", item="sku", time="date")'
PYTHON_FILLED = {
    "jaxrec.datasets.movielens_100k()": READ,
    "timeout=2": "n_trials=2",
    "STUDY": "tiny",
    '"FILE"': '"retail.parquet"',
    '"KINDS"': '"found_kinds.csv"',
}
BEFORE = {  # what the text around the first block defines
    "compare.md": f"import jaxrec\nsplit = jaxrec.split({READ})",
    "reranking.md": "import numpy as np\nscores, ages = np.random.rand(2, 3, 20).astype('float32')\n"
    "vectors, half_life = np.random.rand(3, 20, 4).astype('float32'), 30.0",
}


def python_of(path: Path) -> list[str]:
    """Return the blocks of Python in a page, with files and data of `folder`."""
    found = re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for text, replacement in PYTHON_FILLED.items():
        found = [block.replace(text, replacement) for block in found]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [pytest.param(p, id=p.name) for p in DOCS if p.name not in ("extending.md", "tutorial.md") and python_of(p)]
)
def test_the_python_of_a_page_runs(folder, path):
    script = "\n".join([BEFORE.get(path.name, ""), *python_of(path)])
    (folder / "page.py").write_text(script, encoding="utf-8")
    paste(folder, "python page.py")


@pytest.mark.slow
def test_the_python_of_the_tutorial_runs(tmp_path):
    for block in python_of(ROOT / "docs" / "tutorial.md"):
        name = block.removeprefix("# ").partition("\n")[0]
        (tmp_path / name).write_text(block, encoding="utf-8")
        printed = paste(tmp_path, f"python {name}")
    assert printed.split()[:3] == ["model", "metric", "value"]


@pytest.mark.slow
def test_commands_printed_by_a_search_work(folder):
    small = "data=files data.path=orders.csv"
    search = f"python scripts/train.py --multirun {small} sweep=ease sweep.n_trials=2"
    message = paste(folder, f"{search} 'sweep.study_name=it is/a $study' 'hydra.sweep.dir=my search'")
    (closer,) = re.findall(r"^details: (.*)$", message, re.MULTILINE)
    again = paste(folder, closer).strip().splitlines()[-1]
    paste(folder, again)
    header = (folder / "my search" / "best" / "config.yaml").read_text().splitlines()[1]
    paste(folder, header.removeprefix("#"))


@pytest.mark.slow
def test_the_command_in_an_error_works(folder):
    small = "data=files data.path=orders.csv"
    message = paste(folder, f"jaxrec train {small} sweep=ease 2>&1 || true")
    (suggested,) = re.findall(r"requires --multirun: (jaxrec .*)$", message, re.MULTILINE)
    paste(folder, f"{suggested} {small} sweep.n_trials=2")


@pytest.mark.slow
def test_the_next_steps_of_a_data_report_work_when_pasted(folder):
    paste(folder, "jaxrec explore data=files data.path=views.csv data.time_column=timestamp 'out=the report'")
    page = (folder / "the report" / "report.html").read_text(encoding="utf-8")
    steps = [html.unescape(text) for text in re.findall(r"<pre>(jaxrec train .*?)</pre>", page)]
    assert [re.search(r"sweep=\w+|model=\S+|split=sessions", step)[0] for step in steps] == [
        "model=popularity,item_knn,ease,ials",
        "sweep=mf",
        "split=sessions",
    ]
    for step, small in zip(
        steps, ("trainer.epochs=1", "trainer.epochs=1 sweep.n_trials=2", "trainer.epochs=1"), strict=True
    ):
        paste(folder, f"{step} {small}")


@pytest.mark.slow
def test_an_interrupted_run_prints_how_to_continue(folder):
    training = "jaxrec train data=files data.path=orders.csv trainer.epochs=300 trainer.patience=null"
    message = paste(
        folder,
        f"{training} 'hydra.run.dir=a run' > printed 2>&1 & pid=$!\n"
        "until grep -q 'epoch 1 of' printed; do sleep 0.1; done\n"
        "kill -TERM $pid; wait $pid || true; cat printed",
    )
    (suggested,) = re.findall(r"^to continue: (.*)$", message, re.MULTILINE)
    assert "trained 300 of 300 epochs" in paste(folder, suggested)
