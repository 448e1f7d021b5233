"""A search over a function instead of trained models; evaluated parameters are recorded."""

import math

from optuna.trial import TrialState

from jaxrec.sweep.outcome import Outcome, Progress
from jaxrec.sweep.plan import Plan
from jaxrec.sweep.search import search
from jaxrec.sweep.space import Choice, Interval
from jaxrec.sweep.storage import open_storage

SPACE = {"x": Interval(-1.0, 1.0), "lr": Interval(1e-4, 1e-1, log=True), "width": Choice((16, 32, 64))}
DONE = (TrialState.COMPLETE, TrialState.PRUNED)


def quadratic(params):
    return 1.0 - params["x"] ** 2


class Recorder:
    """A fake population: records its batches and returns a function of the parameters."""

    def __init__(self, answer=lambda params: Outcome(quadratic(params))):
        self.batches, self.answer = [], answer

    def __call__(self, batch):
        self.batches.append(batch)
        for params in batch:
            yield self.answer(params)

    @property
    def seen(self):
        return [params for batch in self.batches for params in batch]


class InOneRound:
    """A runner whose trials end in their first round, with outcomes from a function of the batch."""

    def __init__(self, evaluate):
        self.evaluate, self.waiting = evaluate, {}

    def add(self, number, params, trained=0):
        self.waiting[number] = params

    def advance(self, seconds=math.inf):
        batch, self.waiting = self.waiting, {}
        for number, outcome in zip(batch, self.evaluate(list(batch.values())), strict=True):
            yield Progress(number, outcome=outcome)

    def stop(self, number):
        return None

    def save(self, is_interrupted):
        return False


class Curves:
    """A runner whose trials train several epochs; the value of a trial approaches that of `quadratic`."""

    def __init__(self, n_epochs):
        self.n_epochs, self.trials, self.started = n_epochs, {}, []

    def add(self, number, params, trained=0):
        self.trials[number] = {"params": params, "epoch": max(trained, 0), "waits": trained < 0}
        self.started.append(number)

    def advance(self, seconds=math.inf):
        for number, trial in sorted(self.trials.items()):
            if trial["waits"]:
                trial["waits"] = False
                continue
            trial["epoch"] += 1
            done = trial["epoch"] == self.n_epochs(trial["params"])
            yield Progress(
                number, trial["epoch"], self.value(trial), self.outcome(number, "complete") if done else None
            )

    def value(self, trial):
        return quadratic(trial["params"]) * (1 - 0.5 ** trial["epoch"])

    def outcome(self, number, state):
        trial = self.trials.pop(number)
        return Outcome(self.value(trial), state, {"epochs": trial["epoch"]})

    def prune(self, number):
        return self.outcome(number, "pruned")

    def stop(self, number):
        return self.outcome(number, "complete") if self.trials[number]["epoch"] else None

    def save(self, is_interrupted):
        return False


def sweep(
    directory, evaluate=None, storage=None, on_tell=lambda trial: None, study_name="study", runner=None, **changes
):
    arguments = {
        "space": SPACE,
        "n_trials": 8,
        "population": 3,
        "metric": "ndcg@10",
        "fixed": {"model": "mf", "trainer.epochs": 5},
        "seed": 1,
    }
    return search(
        Plan(**{**arguments, **changes}),
        runner or InOneRound(evaluate or Recorder()),
        study_name=study_name,
        storage=storage or open_storage(None, directory),
        directory=directory,
        on_tell=on_tell,
    )


def n_done(study):
    return sum(trial.state in DONE for trial in study.trials)
