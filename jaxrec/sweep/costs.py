"""Costs of trials that are objectives or constraints: size and latency. Training time is measured anyway."""

from dataclasses import dataclass, field

from jaxrec import experiment
from jaxrec.data.splits.split import Selection
from jaxrec.evaluation.cost import Latency
from jaxrec.hyper import Hyper
from jaxrec.models.model import Model, Params
from jaxrec.settings import Tree
from jaxrec.sweep.objectives import Goals
from jaxrec.sweep.space import Values


@dataclass(eq=False)
class TrialCosts:
    """Measures the costs that a search asks for.

    Args:
        goals: objectives and constraints.
        selection: training and validation data.
    """

    goals: Goals
    selection: Selection
    _trees: dict[int, Tree] = field(default_factory=dict)
    _latencies: dict[str, Latency] = field(default_factory=dict)

    def start(self, number: int, tree: Tree) -> None:
        """Note the settings of a trial."""
        if self.goals.costs:
            self._trees[number] = tree

    def measure(self, number: int, shared: Tree, model: Model, params: Params, hyper: Hyper) -> Values:
        """Return the costs of a trained trial.

        Args:
            number: number of the trial.
            shared: settings of its program.
            model: the model of the program.
            params: parameters of the trial.
            hyper: hyperparameters of the trial.
        """
        tree, found = self._trees.pop(number, {}), Values()
        if "n_parameters" in self.goals.costs:
            found["n_parameters"] = experiment.n_parameters(tree, self.selection)
        if "latency_ms" in self.goals.costs:
            latency = self._latencies.get(key := str(shared))
            if latency is None:
                latency = self._latencies[key] = experiment.latency(model, self.selection)
            found["latency_ms"] = round(latency(params, hyper), 3)
        return found
