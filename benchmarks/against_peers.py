"""Installs the peer libraries, runs each beside jaxrec on the same work, and writes a table in Markdown.

    python benchmarks/against_peers.py                                    # every pair, on synthetic data
    python benchmarks/against_peers.py 'BPR*' --data data=files data.path=ml-1m-sequences.parquet

Leave the machine to it: other processes distort the ratios. Environments are created once, in --environments.
"""

import argparse
import fnmatch
import json
import os
import shlex
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
RECBOLE_NEEDS = (
    "torch==2.13.0 numpy<2 pandas<2.2 scipy<1.12 scikit-learn==1.4.2 ray==2.6.3 setuptools<80 hyperopt==0.2.5"
)
ENVIRONMENTS = {
    "implicit": ["implicit"],
    "recbole": ["recbole==1.2.1", *RECBOLE_NEEDS.split()],
    "rectools": ["rectools[torch]==0.19.0", "pytorch-lightning==2.5.2", "torch==2.13.0"],
}
GRID = (
    "data=movielens_100k split=leave_one_out model.regularization=0 negatives=uniform negatives.ratio=1 "
    "trainer.patience=null sweep.pruner=none sweep.sampler=grid sweep.n_trials=8 "
    "optimizer.learning_rate=choice(0.0005,0.001,0.005,0.01) model.embedding_dim=choice(32,64)"
)


@dataclass(frozen=True)
class Pair:
    """One comparison.

    Attributes:
        environment: environment of the peer
        script: script of the peer in `peers`, with its arguments
        settings: overrides of `jaxrec benchmark`, as in a shell
        repeats: timed repeats of each
    """

    environment: str
    script: str
    settings: str
    repeats: int = 4


def _neumf(dim: int) -> str:
    layers = f"model.layers=[{2 * dim},{dim}]"
    return f"model=neumf model.embedding_dim={dim} {layers} negatives.ratio=1 trainer.batch_size=1024"


def _grid(model: str, epochs: int) -> str:
    return f"""case=start 'command="train --multirun {model} trainer.epochs={epochs} {GRID}"'"""


PAIRS = {
    "BPR, plain SGD": Pair(
        "implicit",
        "implicit_train.py BPR",
        "case=fit model=mf loss=bpr model.embedding_dim=64 model.regularization=0 negatives.ratio=1 optimizer=row_sgd "
        "trainer.batch_size=16384",
    ),
    "ALS": Pair("implicit", "implicit_train.py ALS", "case=fit model=ials model.embedding_dim=64"),
    "ranking": Pair("implicit", "implicit_recommend.py", "case=rank model=mf model.embedding_dim=64"),
    "NeuMF 64": Pair("recbole", "recbole_model.py train NeuMF 200", f"case=fit {_neumf(64)}"),
    "NeuMF 32": Pair("recbole", "recbole_model.py train NeuMF 200", f"case=fit {_neumf(32)}"),
    "NeuMF 64, validation": Pair(
        "recbole",
        "recbole_model.py evaluate NeuMF 300",
        f"case=evaluate split=leave_one_out {_neumf(64)}",
    ),
    "GRU4Rec": Pair("recbole", "recbole_model.py train GRU4Rec 3", "case=fit model=gru4rec model.dropout=0.3"),
    "SASRec": Pair("rectools", "rectools_train.py SASRec 6", "case=fit model=sasrec model.n_heads=2"),
    "BERT4Rec": Pair(
        "rectools", "rectools_train.py BERT4Rec 6", "case=fit model=bert4rec loss.mask=0.15 loss.trailing=0.0"
    ),
    "search, 8 x BPR x 20 epochs": Pair("recbole", "recbole_sweep.py BPR 20", _grid("model=mf loss=bpr", 20), 2),
    "search, 8 x NeuMF x 3 epochs": Pair("recbole", "recbole_sweep.py NeuMF 3", _grid("model=neumf", 3), 2),
}


def main() -> None:
    """Run the pairs that match, and write the table after each, so that an interruption keeps what is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="*", default=["*"], help=f"patterns of names: {', '.join(PAIRS)}")
    parser.add_argument("--data", nargs="+", default=[], help="settings of the data; not for searches")
    parser.add_argument("--environments", type=Path, default=Path.home() / ".cache" / "jaxrec" / "peers")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks/against_peers.md"))
    arguments = parser.parse_args()
    chosen = [name for name in PAIRS if any(fnmatch.fnmatch(name, pattern) for pattern in arguments.pairs)]
    if not chosen:
        parser.error(f"no such pair: {', '.join(arguments.pairs)}; choose from {', '.join(PAIRS)}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    lines = ["| | jaxrec | peer | times |", "|---|---|---|---|"]
    for name in chosen:
        pair = PAIRS[name]
        python = _installed(arguments.environments, pair.environment)
        try:
            lines.append(_row(name, *_measured(pair, python, arguments.data)))
        except subprocess.CalledProcessError as error:  # its message is on the terminal
            lines.append(f"| {name} | failed: `{shlex.join(error.cmd)}` | | |")
        arguments.out.write_text("\n".join([*lines, ""]))
        print(lines[-1], flush=True)


def _installed(folder: Path, name: str) -> Path:
    """Return the interpreter of an environment; one that is not complete is created anew."""
    home = (folder / name).absolute()
    complete = home / "complete"
    if not complete.exists():
        venv.create(home, clear=True, with_pip=True)
        subprocess.run([home / "bin" / "pip", "install", "--quiet", *ENVIRONMENTS[name]], check=True)
        complete.touch()
    return home / "bin" / "python"


def _measured(pair: Pair, python: Path, data: list[str]) -> tuple[dict, dict]:
    """Return the rows of jaxrec and of the peer."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        script = HERE / "peers" / pair.script
        peer = f"peer={json.dumps(f'{python} {script}')}"
        more = [] if "case=start" in pair.settings else data
        command = [sys.executable, "-m", "jaxrec", "benchmark", *shlex.split(pair.settings), *more, peer]
        subprocess.run(
            [*command, f"repeats={pair.repeats}", f"out={out}"],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # implicit has threads of its own
        )
        ours, theirs = json.loads(out.read_text())["rows"]
    return ours, theirs


def _row(name: str, ours: dict, theirs: dict) -> str:
    """Format rates if both have one, else seconds; `times` is above 1 if jaxrec is faster."""
    if key := next((key for key in ("targets_per_s", "users_per_s") if key in ours and key in theirs), None):
        values, times = [f"{row[key]:,.0f}/s" for row in (ours, theirs)], ours[key] / theirs[key]
    else:
        values, times = [f"{row['median_s']:.3g} s" for row in (ours, theirs)], theirs["median_s"] / ours["median_s"]
    return f"| {name} ({theirs['name']}) | {values[0]} | {values[1]} | {times:.2g} |"


if __name__ == "__main__":
    main()
