"""Kinds of commands that the campaign kills."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.kills import outputs
from tests.kills.outputs import Contents
from tests.planted import PLANTED


class Kind(NamedTuple):
    """A command to be killed, and the output that it must leave.

    Attributes:
        words: the command. {out} is its folder, {run} a finished run, {name} and {storage} a study and where it is.
        look: reads the output that is compared with that of an uninterrupted command.
        earlier: words of a command whose output half of the commands replace; empty: existing output is continued.
        last: the file that is written last; empty: nothing is checked before the command has ended.
        workers: whether it has worker processes, which are killed too.
        storage: "journal", "postgres" or "grpc".
    """

    words: tuple[str, ...]
    look: Callable[[Path], Contents] = outputs.training
    earlier: tuple[str, ...] = ()
    last: str = ""
    workers: bool = False
    storage: str = "journal"


TRAIN, GRID = ("train", "hydra.run.dir={out}"), ("train", "--multirun", "hydra.sweep.dir={out}")
SHORT = (*PLANTED, "trainer.epochs=12", "trainer.batch_size=512", "trainer.save_minutes=0.001")
SEARCH = (*GRID, *SHORT, "sweep=mf", "sweep.n_trials=8", "sweep.population=4")
MANY = (*PLANTED, "sweep=mf", "trainer.epochs=4", "trainer.save_minutes=0.001", "sweep.n_trials=12")
WORKERS = (*GRID, *MANY, "sweep.population=1", "sweep.workers=4")
SERVED = (*WORKERS, "sweep.study_name={name}", "sweep.storage={storage}")

KINDS = {
    "run": Kind((*TRAIN, *SHORT)),
    "seeds": Kind((*TRAIN, *SHORT, "seeds=3")),
    "grid": Kind((*GRID, *SHORT, "optimizer.learning_rate=0.003,0.01", "loss=bpr,bce")),
    "search": Kind(SEARCH),
    "pbt": Kind((*SEARCH, "sweep.strategy=pbt")),
    "compare": Kind((*GRID, *PLANTED, "sweep=compare", "sweep.models=[popularity,item_knn,ease]", "sweep.n_trials=4")),
    "mine": Kind(
        ("mine", "run={run}", "out={out}/mined.parquet"), outputs.digests, earlier=("per_user=2",), last="mined.parquet"
    ),
    "recommend": Kind(
        ("recommend", "run={run}", "users=all", "out={out}/lists.csv"),
        outputs.digests,
        earlier=("k=3",),
        last="lists.csv",
    ),
    "export": Kind(("export", "run={run}", "out={out}", "platforms=[cpu]"), outputs.digests, ("k=20",), "about.json"),
    "explore": Kind(("explore", *PLANTED, "out={out}"), outputs.digests, ("explore.top=5",), "report.html"),
    "pipeline": Kind(("pipeline", "run={run}", "rerank=mmr", "out={out}"), outputs.digests, ("k=5",), "report.html"),
    "workers": Kind(WORKERS, outputs.trials, workers=True),
    "postgres": Kind(SERVED, outputs.trials, workers=True, storage="postgres"),
    "grpc": Kind(SERVED, outputs.trials, workers=True, storage="grpc"),
}
RUN = (*TRAIN, *PLANTED, "trainer.epochs=3")  # finished run that some commands read
