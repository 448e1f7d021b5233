"""Configuration of JAX by commands and by the Python API."""

import jax
from threadpoolctl import threadpool_info, threadpool_limits

from jaxrec import machine
from jaxrec.machine import single_threaded_blas, use_all_cores


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


def test_programs_call_blas_on_one_thread_and_others_on_as_many_as_before():
    def threads() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    with threadpool_limits(2, "blas"):
        with single_threaded_blas():
            assert threads() == {1}
        assert threads() == {2}
