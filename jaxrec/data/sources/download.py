"""Download of archives into a cache folder, verified by checksum."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from jaxrec.errors import InputError

ABANDONED_SECONDS = 86_400.0  # age at which a temporary folder is that of a killed process; downloads may take hours


class UnreachableError(Exception):
    """Raised when a source provides no file or a wrong one; the message is the reason, in one line."""


def cache_dir() -> Path:
    """Return the cache folder: JAXREC_CACHE, else jaxrec/ in XDG_CACHE_HOME or ~/.cache.

    Raises:
        InputError: it is below the home folder and there is none, as for an unnamed user of a container.
    """
    folder = os.environ.get("JAXREC_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "jaxrec")
    if (expanded := os.path.expanduser(folder)).startswith("~"):
        raise InputError(f"the cache folder {folder} has no home folder to be in: set JAXREC_CACHE=FOLDER")
    return Path(expanded)


def first_of(sources: Mapping[str, Callable[[], Path]], by_hand: str) -> Path:
    """Return the archive from the first source that provides it.

    Args:
        sources: description of a source → function that downloads from it.
        by_hand: instructions for manual download, for the error message.

    Raises:
        InputError: all sources failed; the message lists the reasons.
    """
    reasons = []
    for source, fetch in sources.items():
        try:
            return fetch()
        except UnreachableError as error:
            reasons.append(f"{source}: {error}")
    raise InputError(f"the data could not be downloaded. {'; '.join(reasons)}. {by_hand}")


def fetch_wheel(requirement: str, sha256: str) -> Path:
    """Download the wheel of a pinned requirement with pip, without installing or importing it.

    Args:
        requirement: pinned, such as "recbole==1.2.1".
        sha256: checksum of the wheel.

    Raises:
        UnreachableError: the download failed; the message is that of pip.
        InputError: the cache folder cannot be written.
    """

    def download(folder: Path) -> Path:
        # On a terminal pip shows its progress, redirected from stdout, which is for results.
        output = sys.stderr if sys.stderr.isatty() else subprocess.PIPE
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
        pip += ["--disable-pip-version-check", "--retries", "2", "--dest", str(folder), requirement]
        process = subprocess.run(pip, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
        wheels = list(folder.glob("*.whl"))
        if process.returncode or not wheels:
            lines = [line.strip() for line in process.stderr.splitlines() if line.strip()] or ["no wheel"]
            raise UnreachableError(next((line for line in reversed(lines) if line.startswith("ERROR:")), lines[-1]))
        return wheels[0]

    return _cached(requirement.replace("==", "-") + ".whl", sha256, download)


def fetch_url(url: str, sha256: str, timeout: float = 30.0) -> Path:
    """Download the file at a URL.

    Args:
        url: the address.
        sha256: checksum of the file.
        timeout: seconds to wait for a response.

    Raises:
        UnreachableError: the download failed.
        InputError: the cache folder cannot be written.
    """

    def download(folder: Path) -> Path:
        target = folder / "download"
        try:
            with urllib.request.urlopen(url, timeout=timeout) as response, target.open("wb") as file:
                size = int(response.headers.get("Content-Length") or 0)
                while block := response.read(1 << 18):
                    file.write(block)
                    if size and sys.stderr.isatty():
                        print(f"\r{file.tell() / size:4.0%} of {size / 1e6:.1f} MB", end="", file=sys.stderr)
        except (OSError, ValueError) as error:  # URLError and timeouts are OSErrors
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it is a response, too
            raise UnreachableError(str(error)) from error
        if sys.stderr.isatty():
            print(file=sys.stderr)
        return target

    return _cached(url.rsplit("/", 1)[-1], sha256, download)


def _cached(name: str, sha256: str, download: Callable[[Path], Path]) -> Path:
    """Return the file `name` of the cache, downloading it if it is missing or its checksum is wrong.

    Safe for concurrent processes: each downloads into its own folder and then moves the file atomically.
    """
    target = cache_dir() / name
    if target.is_file():
        if _sha256(target) == sha256:
            return target
        _say(f"{target} is damaged (its checksum is wrong): downloading it again")
    else:
        _say(f"downloading {name} into {target.parent}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(target.parent.glob(".fetching-*"))
        folder = tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-", ignore_cleanup_errors=True)
    except OSError as error:
        raise InputError(f"{target.parent} cannot be written ({error.strerror}): set JAXREC_CACHE=FOLDER") from error
    with folder as place:
        file = download(Path(place))
        if (digest := _sha256(file)) != sha256:
            raise UnreachableError(f"the file has the wrong checksum ({digest[:12]}…, expected {sha256[:12]}…)")
        os.replace(file, target)
    return target


def remove_abandoned(folders: Iterable[Path]) -> None:
    """Remove temporary folders of killed processes."""
    for folder in folders:
        with contextlib.suppress(OSError):  # another process removed it
            if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
