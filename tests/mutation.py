"""Mutation testing: plant small faults in the code that results depend on, and count how many the tests detect.

`python tests/mutation.py metrics losses --sample 30` prints each mutant that survives as `file:line before → after`,
then a table of the share killed. Slow: every mutant runs the tests of its module in a fresh process. Mutation tools
that fork after a first run of the tests are of no use here: compiled programs of JAX would hide the fault.
"""

import argparse
import ast
import copy
import json
import multiprocessing
import os
import queue
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
COPIED = ("jaxrec", "hydra_plugins", "conf", "scripts", "tests", "pyproject.toml", "README.md")
FULL = ("evaluation/test_steps.py", "evaluation/test_full_catalog.py")
SLOTS = ("fitting/test_slots.py", "fitting/test_gradient.py")
SEQUENCES = ("fitting/test_sequence_losses.py", "fitting/test_sequence.py", "fitting/test_example_histories.py")
SPLITS = ("data/splits/test_split.py", "data/splits/test_new_users.py", "data/test_split_contract.py")
SESSIONS = ("data/splits/test_sessions.py", "data/splits/test_session_split.py")
SEARCH = ("sweep/test_search.py", "sweep/test_trials.py", "sweep/test_resume.py", "sweep/test_workers.py")
TIMEOUT = ("sweep/test_timeout.py", "sweep/test_closed_forms.py")

# Group → module of jaxrec → its tests, fastest first.
GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "metrics": {
        "bootstrap": ("test_bootstrap.py",),
        "metrics": ("test_metrics.py", "test_metric_contract.py"),
        "prediction_metrics": ("test_metric_contract.py", "evaluation/test_prediction.py"),
    },
    "ranking": {"ranking": ("test_ranking.py", "test_mesh.py"), "top_k": ("test_top_k.py", "test_mesh.py")},
    "losses": {"losses": ("test_losses.py",)},
    "negatives": {
        f"negatives/{path.stem}": ("negatives",)
        for path in sorted((ROOT / "jaxrec/negatives").glob("*.py"))
        if path.stem != "__init__"
    },
    "splits": {
        "data/splits/assembly": SPLITS,
        "data/splits/candidate_lists": ("data/splits/test_candidate_lists.py",),
        "data/splits/fingerprint": ("data/splits/test_fingerprint.py",),
        "data/splits/new_users": SPLITS[1:],
        "data/splits/session_split": SESSIONS,
        "data/splits/sessions": SESSIONS,
        "data/splits/split": SPLITS,
    },
    "fitting": {
        "fitting/alignment": ("fitting/test_alignment.py",),
        "fitting/als": ("models/test_ials.py",),
        "fitting/chunks": ("fitting/test_chunks.py",),
        "fitting/capacity": ("fitting/test_capacity.py",),
        "fitting/closed_form": ("fitting/test_closed_form.py", "models/test_ease.py", "models/test_item_knn.py"),
        "fitting/composite_prior": ("fitting/test_composite_prior.py",),
        "fitting/epochs": (*SLOTS, "models/test_ease.py", "sweep/test_resume.py", "launch/test_seeds.py"),
        "fitting/example_histories": ("fitting/test_example_histories.py",),
        "fitting/gradient": SLOTS,
        "fitting/member": SLOTS,
        "fitting/member_program": SLOTS,
        "fitting/mining": ("fitting/test_mining.py",),
        "fitting/objective": ("fitting/test_objective.py", "fitting/test_gradient.py"),
        "fitting/optimizers": ("fitting/test_optimizers.py", "fitting/test_row_updates.py", "fitting/test_gradient.py"),
        "fitting/pairwise_softmax": ("fitting/test_sequence_losses.py",),
        "fitting/permutation": ("fitting/test_permutation.py",),
        "fitting/pointwise": ("fitting/test_pointwise.py", "fitting/test_rank_bias.py"),
        "fitting/population": ("fitting/test_population.py", *SLOTS),
        "fitting/reconstruction": ("fitting/test_reconstruction.py",),
        "fitting/row_updates": ("fitting/test_row_updates.py", "fitting/test_loss_scale.py"),
        "fitting/saved_slots": ("sweep/test_resume.py",),
        "fitting/sequence": (*SEQUENCES, "models/test_sequence_inputs.py", "fitting/test_sequence_columns.py"),
        "fitting/sequence_losses": SEQUENCES,
        "fitting/sequence_negatives": SEQUENCES,
        "fitting/slots": SLOTS,
    },
    "evaluation": {
        "evaluation/candidates": ("evaluation/test_candidates.py",),
        "evaluation/categories": ("evaluation/test_calibration.py",),
        "evaluation/cost": ("evaluation/test_cost.py", "launch/test_comparisons.py"),
        "evaluation/evaluation": (*FULL, "evaluation/test_candidates.py"),
        "evaluation/full_catalog": FULL,
        "evaluation/ground_truth": (*FULL, "evaluation/test_candidates.py"),
        "evaluation/groups": ("evaluation/test_groups.py",),
        "evaluation/most_popular": ("evaluation/test_most_popular.py",),
        "evaluation/prediction": ("evaluation/test_prediction.py", "fitting/test_rank_bias.py"),
    },
    "search": {
        "sweep/leases": ("sweep/test_leases.py",),
        "sweep/objectives": ("sweep/test_objectives.py",),
        "sweep/pruning": ("sweep/test_pruning.py", "sweep/test_search.py", "sweep/test_resume.py"),
        "sweep/ask_and_tell": SEARCH,
        "sweep/best_trial": SEARCH[2:3],
        "sweep/repeats": SEARCH,
        "sweep/scratch": ("sweep/test_scratch.py",),
        "sweep/search": SEARCH,
        "sweep/runner": (*TIMEOUT, "sweep/test_resume.py"),
        "sweep/running_trial": SEARCH[2:3],
        "sweep/time_limit": TIMEOUT[:1],
        "sweep/worker_loop": (*SEARCH, *TIMEOUT),
        "sweep/servers": ("sweep/test_servers.py",),
        "sweep/space": ("sweep/test_space.py",),
        "sweep/databases": ("sweep/test_servers.py", "sweep/test_storage.py"),
        "sweep/file_lock": ("sweep/test_file_lock.py",),
        "sweep/journal": ("sweep/test_storage.py",),
        "sweep/storage": ("sweep/test_storage.py",),
        "sweep/trials": SEARCH[1:],
        "sweep/user_values": ("sweep/test_user_values.py", "sweep/test_resume.py"),
        "sweep/workers": SEARCH[3:],
    },
}

OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Add,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.And: ast.Or, ast.Or: ast.And,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
NAMES = {"min": "max", "minimum": "maximum", "any": "all", "left": "right", "mean": "sum"}
NAMES |= {other: name for name, other in NAMES.items()}
FRESH = multiprocessing.get_context("forkserver")
# Neither jaxrec, which is mutated, nor plugins that pytest has to import itself, such as one that flax imports.
FRESH.set_forkserver_preload(["jax", "jax.numpy", "pandas", "pytest", "scipy.stats", "sklearn.metrics"])
LARGEST = 100  # larger numbers are block sizes and stream names


@dataclass(frozen=True)
class Mutant:
    """One fault: bytes `start .. end` of a module are replaced."""

    module: str
    line: int
    start: int
    end: int
    before: str
    after: str


def faults(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the replacements of a node."""
    match node:
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in OPERATORS:
            yield _changed(node, op=OPERATORS[type(op)]())
        case ast.Compare(ops=[op, *rest]) if type(op) in OPERATORS:
            yield _changed(node, ops=[OPERATORS[type(op)](), *rest])
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield operand
        case ast.IfExp(body=body, orelse=orelse):
            yield _changed(node, body=orelse, orelse=body)
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)) if abs(value) <= LARGEST:
            yield ast.Constant(value + 1)
        case ast.Constant(value=str(value)) if value in NAMES:
            yield ast.Constant(NAMES[value])
        case ast.Attribute(attr=name) if name in NAMES:
            yield _changed(node, attr=NAMES[name])
        case ast.Name(id=name) if name in NAMES:
            yield ast.Name(NAMES[name])
        case ast.Call(keywords=[_, *_] as keywords):
            for keyword in keywords:
                if keyword.arg is not None:
                    yield _changed(node, keywords=[other for other in keywords if other is not keyword])


def mutants(module: str, source: bytes) -> list[Mutant]:
    """Return all faults of a module; none in annotations, decorators and messages."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = []
    for node in _executed(ast.parse(source)):
        for fault in faults(node):
            start, end = (
                starts[line - 1] + column
                for line, column in ((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset))
            )
            after = ast.unparse(ast.fix_missing_locations(fault))
            if not isinstance(fault, ast.Constant | ast.Name | ast.Attribute | ast.Call):
                after = f"({after})"
            found.append(Mutant(module, node.lineno, start, end, ast.unparse(node), after))
    return found


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.expr):
        yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.Raise | ast.Assert | ast.JoinedStr):
                yield from _executed(child)


def _changed(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def copied(folder: Path) -> Path:
    """Copy the project, so that the original is never changed."""
    folder.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def run_tests(folder: Path, tests: tuple[str, ...], timeout: float | None) -> bool:
    """Return whether the tests of a copy of the project pass in time, in a process that has only imported libraries."""
    process = FRESH.Process(target=_pytest, args=(folder, tests))
    process.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
    return process.exitcode == 0


def _pytest(folder: Path, tests: tuple[str, ...]) -> None:
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True  # bytecode caches miss a second change within the same second
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    import pytest

    os._exit(pytest.main(["-x", "-q", "--hypothesis-seed=0", *(f"tests/{name}" for name in tests)]))


def survives(folder: Path, mutant: Mutant, tests: tuple[str, ...], timeout: float) -> bool:
    """Return whether the tests miss the fault."""
    path = folder / f"jaxrec/{mutant.module}.py"
    whole = path.read_bytes()
    path.write_bytes(whole[: mutant.start] + mutant.after.encode() + whole[mutant.end :])
    try:
        return run_tests(folder, tests, timeout)
    finally:
        path.write_bytes(whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; none: all")
    parser.add_argument("--sample", type=int, default=30, help="mutants of a group; 0: all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=1, help="mutants tested at once")
    parser.add_argument("--json", type=Path, help="file to write the result to")
    arguments = parser.parse_args()
    if unknown := set(arguments.groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}; choose from {', '.join(GROUPS)}")

    report: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(arguments.jobs) as pool:
        folders: queue.Queue[Path] = queue.Queue()
        for number in range(arguments.jobs):
            folders.put(copied(Path(temporary, str(number))))

        for group in arguments.groups or GROUPS:
            tests = GROUPS[group]
            sources = {module: Path(temporary, f"0/jaxrec/{module}.py").read_bytes() for module in tests}
            every = [mutant for module, source in sources.items() for mutant in mutants(module, source)]
            size = min(arguments.sample or len(every), len(every))
            drawn = sorted(random.Random(arguments.seed).sample(every, size), key=lambda m: (m.module, m.start))

            limits = {}
            for names in {tests[mutant.module] for mutant in drawn}:
                started, folder = time.perf_counter(), Path(temporary, "0")
                if not run_tests(folder, names, None):
                    sys.exit(f"{' '.join(names)} fails without any mutant")
                limits[names] = 30 + 4 * (time.perf_counter() - started)

            def survived(mutant: Mutant, tests: dict = tests, limits: dict = limits) -> bool:
                folder, names = folders.get(), tests[mutant.module]
                try:
                    missed = survives(folder, mutant, names, limits[names])
                finally:
                    folders.put(folder)
                if missed:
                    print(f"jaxrec/{mutant.module}.py:{mutant.line}  {mutant.before}  →  {mutant.after}", flush=True)
                return missed

            missed = [asdict(m) for m, lives in zip(drawn, pool.map(survived, drawn), strict=True) if lives]
            report[group] = {"mutants": len(every), "tested": size, "killed": size - len(missed), "survivors": missed}
            if arguments.json:
                arguments.json.write_text(json.dumps(report, indent=2, ensure_ascii=False))

    print(f"\n{'group':<12}{'mutants':>9}{'tested':>9}{'killed':>9}{'share':>9}")
    for group, row in report.items():
        share = row["killed"] / row["tested"]
        print(f"{group:<12}{row['mutants']:>9}{row['tested']:>9}{row['killed']:>9}{share:>9.1%}")


if __name__ == "__main__":
    main()
