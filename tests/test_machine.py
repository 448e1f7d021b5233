"""Configuration of JAX by commands and by the Python API."""

import jax

from jaxrec.machine import use_all_cores


def test_a_configured_compilation_cache_is_kept():
    """The tests configure their own cache, which also keeps small programs."""

    def configured() -> tuple[str | None, float]:
        return jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs

    before = configured()
    use_all_cores()
    assert configured() == before
