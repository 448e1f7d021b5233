import hashlib
import os
import pwd
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jaxrec.data.sources.download import UnreachableError, cache_dir, fetch_url, fetch_wheel, first_of
from jaxrec.errors import InputError

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def served():
    """Serve a file of CONTENT on this machine; return its address and the requests received."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_response(200 if self.path == "/a.zip" else 404)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            if self.path == "/a.zip":
                self.wfile.write(CONTENT)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/a.zip", requests
        server.shutdown()


def test_the_environment_sets_the_cache_folder(monkeypatch, tmp_path):
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("JAXREC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "jaxrec"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert cache_dir() == tmp_path / "me" / ".cache" / "jaxrec"


def test_a_file_is_downloaded_once_and_again_if_damaged(served, capsys, cache):
    url, requests = served
    path = fetch_url(url, SHA256)
    assert path == cache / "a.zip"
    assert path.read_bytes() == CONTENT
    assert capsys.readouterr().err == f"downloading a.zip into {cache}\n"
    assert fetch_url(url, SHA256) == path
    assert len(requests) == 1
    assert capsys.readouterr().err == ""
    path.write_bytes(CONTENT[:-1])
    assert fetch_url(url, SHA256).read_bytes() == CONTENT
    assert "is damaged" in capsys.readouterr().err
    assert [file.name for file in cache.iterdir()] == ["a.zip"]


def test_temporary_folders_of_killed_processes_are_removed_after_a_day(served, cache):
    for name in ("killed", "young"):
        (cache / f".fetching-{name}").mkdir(parents=True)
        (cache / f".fetching-{name}" / "download").touch()
    os.utime(cache / ".fetching-killed", (0, 0))
    fetch_url(served[0], SHA256)
    assert sorted(path.name for path in cache.iterdir()) == [".fetching-young", "a.zip"]


def test_a_wrong_file_never_enters_the_cache(served, cache):
    with pytest.raises(UnreachableError, match="the file has the wrong checksum"):
        fetch_url(served[0], "0" * 64)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.zip", "nonsense"])
def test_a_server_that_does_not_respond(url):
    with pytest.raises(UnreachableError, match=r"refused|unknown url type"):
        fetch_url(url, SHA256, timeout=2.0)


def test_a_server_without_the_file(served):
    with pytest.raises(UnreachableError, match="404"):
        fetch_url(served[0] + "x", SHA256)


def test_processes_may_download_at_the_same_time(served, cache):
    code = f"from jaxrec.data.sources.download import fetch_url; fetch_url({served[0]!r}, {SHA256!r})"
    running = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(4)]
    assert [(process.communicate()[0], process.returncode) for process in running] == [(None, 0)] * 4
    assert [file.name for file in cache.iterdir()] == ["a.zip"]
    assert (cache / "a.zip").read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match=r"cannot be written .* set JAXREC_CACHE=FOLDER"):
        fetch_url("http://127.0.0.1:9/a.zip", SHA256)


def test_a_wheel_comes_from_the_index_that_pip_uses(monkeypatch, tmp_path, cache):
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    path = fetch_wheel("tiny==1.0", hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert path == cache / "tiny-1.0.whl"
    assert path.read_bytes() == wheel.read_bytes()


def test_the_error_lists_all_sources_that_failed(tmp_path):
    def refuse(reason):
        raise UnreachableError(reason)

    sources = {"the index": lambda: refuse("no route"), "the site": lambda: refuse("404")}
    with pytest.raises(InputError, match=r"the index: no route; the site: 404. Put it there"):
        first_of(sources, "Put it there")
    assert first_of({"the index": lambda: refuse("no route"), "the disk": lambda: tmp_path}, "") == tmp_path


def test_a_user_without_a_home_folder_is_told_to_set_the_cache(monkeypatch):
    """An unnamed user of a container; the folder is not called ~ in the working directory."""

    def unknown(uid):
        raise KeyError(uid)

    for name in ("HOME", "JAXREC_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(InputError, match=r"~/\.cache/jaxrec has no home folder to be in: set JAXREC_CACHE=FOLDER"):
        cache_dir()
