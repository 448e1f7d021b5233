"""Configuration of JAX by commands and by the Python API."""

import jax

from jaxrec import machine
from jaxrec.machine import use_all_cores


def test_a_configured_compilation_cache_is_kept():
    """The tests configure their own cache, which also keeps small programs."""

    def configured() -> tuple[str | None, float]:
        return jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs

    before = configured()
    use_all_cores()
    assert configured() == before


def test_programs_are_cached_only_where_files_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path))
    assert machine._writable("programs") == tmp_path / "programs"
    monkeypatch.setattr(machine.os, "access", lambda path, mode: False)
    assert machine._writable("programs") is None
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", "~nobody-of-this-name/cache"):
        monkeypatch.setenv("JAXREC_CACHE", str(folder))
        assert machine._writable("programs") is None
