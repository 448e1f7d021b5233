"""What every test runs under: shape checks, strict promotion, two CPU devices, compiled programs kept on disk."""

import os
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
install_import_hook("jaxrec", "beartype.beartype")

ROOT = Path(__file__).parent.parent
SHARED_DATA = Path(os.environ.get("JAXREC_SHARED_DATA", ROOT.parent / "shared" / "datasets"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of research data sets that cannot be shipped; the test skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the research data sets: no folder {SHARED_DATA} (set JAXREC_SHARED_DATA)")
    return SHARED_DATA
