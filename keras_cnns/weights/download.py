"""Downloads: https only, verified, resumable, atomic, one process at a time.

Files of the Hugging Face hub use its own client and cache, shared with other libraries. All others are stored in
`cache_folder()`.
"""

import hashlib
import logging
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOG = logging.getLogger("keras_cnns")
FOLDER = "KERAS_CNNS_CACHE"
LARGEST = 2**31
CHUNK = 2**20
TRIES = 4
PAUSE = 1.0  # seconds before the second try, doubled for each further one
TIMEOUT = 30.0  # seconds without a byte
LOCK_TIMEOUT = 3600.0

Opener = Callable[[str, int], object]


class Unreachable(ConnectionError):
    """A download failed; the message names the file and the URL, and tells how to use a local copy."""


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, response, code, message, headers, url):
        if not url.startswith("https://"):
            raise ValueError(f"{request.full_url} redirects to {url}, which is not https")
        return super().redirect_request(request, response, code, message, headers, url)


def https(url: str, start: int):
    """Opens a URL at byte `start`. Only https is allowed, also after redirections."""
    if not url.startswith("https://"):
        raise ValueError(f"url must start with https://, got {url!r}")
    return opened(urllib.request.build_opener(_HttpsOnly()), url, start)


def opened(director: urllib.request.OpenerDirector, url: str, start: int, timeout: float = TIMEOUT):
    """Opens a URL at byte `start`."""
    headers = {"User-Agent": "keras_cnns", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    return director.open(urllib.request.Request(url, headers=headers), timeout=timeout)


def cache_folder() -> Path:
    """The folder of downloads: $KERAS_CNNS_CACHE, else `keras_cnns` in $XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get(FOLDER)
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keras_cnns"


def fetch(
    url: str,
    path: Path,
    *,
    sha256: str = "",
    md5: str = "",
    opener: Opener = https,
    tries: int = TRIES,
    pause: float = PAUSE,
    largest: int = LARGEST,
) -> Path:
    """The file of a URL at `path`, downloaded if it is missing or damaged.

    An interrupted download is resumed. The file gets its name only when it is complete and its hash, if known, is
    right. If several processes need it, one downloads and the others wait.

    Args:
        sha256: the hash, or its first digits.
        md5: the hash, if no better one is published.
        opener: (url, first byte) -> response; the default allows https only.

    Raises:
        Unreachable: no network, no such file, or a server that stops early in all tries.
        ValueError: the download is not the file: another hash, a web page, or too large.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{path}.lock", timeout=LOCK_TIMEOUT):
            if path.is_file():
                if _fault(path, sha256, md5) is None:
                    return path
                LOG.warning("%s is damaged; it is downloaded again", path)
                path.unlink()
            part = path.with_name(f"{path.name}.part")
            resumed = part.exists()
            _with_retries(url, path, part, opener, tries, pause, largest)
            fault = _fault(part, sha256, md5)
            if fault and resumed:  # the partial file may be of another version
                part.unlink()
                _with_retries(url, path, part, opener, tries, pause, largest)
                fault = _fault(part, sha256, md5)
            if fault:
                part.unlink()
                raise ValueError(f"the download of {url} is not {path.name}: {fault}; it was deleted")
            os.replace(part, path)
            return path
    except Timeout:
        raise Unreachable(f"another process has been downloading {path} for more than an hour") from None


def _with_retries(url: str, path: Path, part: Path, opener: Opener, tries: int, pause: float, largest: int):
    """`_download`, repeated after a pause for errors that may be temporary."""
    for number in range(1, tries + 1):
        try:
            return _download(url, part, opener, largest)
        except urllib.error.HTTPError as error:
            reason, final = f"{error.code} {error.reason}", error.code < 500 and error.code not in (408, 429)
        except (OSError, EOFError) as error:  # URLError, timeouts and resets are OSErrors
            reason, final = str(getattr(error, "reason", None) or error) or type(error).__name__, False
        if final or number == tries:
            raise Unreachable(
                f"{path.name} cannot be downloaded from {url} ({reason}). Download it elsewhere and "
                f'give its path, weights="/.../{path.name}", or put it at {path}'
            )
        time.sleep(pause * 2 ** (number - 1))


def _download(url: str, part: Path, opener: Opener, largest: int) -> None:
    """Appends the missing bytes to `part`.

    Raises:
        EOFError: the server stopped early.
        ValueError: a web page, or more than `largest` bytes.
    """
    start = part.stat().st_size if part.exists() else 0
    try:
        response = opener(url, start)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # the partial file is already complete, or of another file
            part.unlink()
            return _download(url, part, opener, largest)
        raise
    with response:
        resumed = start and response.status == 206
        start = start if resumed else 0
        kind = response.headers.get("Content-Type", "")
        if "html" in kind.lower():
            raise ValueError(f"{url} must give a file, got a web page ({kind})")
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        if total is not None and total > largest:
            raise ValueError(f"{url} must give at most {largest:,} bytes, got {total:,}")
        with open(part, "ab" if resumed else "wb") as file:
            done = start
            for chunk in _chunks(response):
                done += len(chunk)
                if done > largest:
                    raise ValueError(f"{url} gives more than {largest:,} bytes")
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise EOFError(f"received {done:,} of {total:,} bytes")


def _chunks(response) -> Iterator[bytes]:
    import http.client

    while True:
        try:
            chunk = response.read(CHUNK)
        except http.client.IncompleteRead as error:
            yield error.partial
            return
        if not chunk:
            return
        yield chunk


def _fault(path: Path, sha256: str, md5: str) -> str | None:
    """The reason why a file does not have that hash, or None."""
    with open(path, "rb") as file:
        if file.read(64).lstrip().lower().startswith((b"<!doctype", b"<html")):
            return "it is a web page"
        for name, wanted in (("sha256", sha256), ("md5", md5)):
            if wanted:
                file.seek(0)
                found = hashlib.file_digest(file, name).hexdigest()
                if not found.startswith(wanted):
                    return f"its {name} begins with {found[: len(wanted)]}, not {wanted}"
    return None


def from_hub(repository: str, name: str, **options) -> Path:
    """A file of the Hugging Face hub, from its own client and cache ($HF_HOME).

    Raises:
        Unreachable: no network and not in the cache, or no such file.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        with _quiet():
            return Path(huggingface_hub.hf_hub_download(repository, name, **options))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        url = f"https://huggingface.co/{repository}/resolve/main/{name}"
        raise Unreachable(
            f"{name} of {repository} cannot be downloaded ({reason}). Download {url} elsewhere and give "
            f'its path, weights="/.../{name}"'
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the hub client's hints about accounts and its line for every try."""
    from huggingface_hub.utils import logging as theirs

    level = theirs.get_verbosity()
    theirs.set_verbosity_error()
    try:
        yield
    finally:
        theirs.set_verbosity(level)
