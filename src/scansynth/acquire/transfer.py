"""Bring a file here by HTTP, however often the connection is cut: what has arrived is kept, and asked for no more.

Status codes, ranges and validators are those of RFC 9110.
"""

import re
import shutil
import ssl
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util import Retry

from scansynth.errors import ScansynthError

PASSING = (408, 429, 500, 502, 503, 504)  # answers of a server that is busy or ill: the next one may differ
LONGEST_WAIT = 120.0  # seconds, whatever a server asks for
CHUNK = 1024 * 1024


class CutError(Exception):
    """An attempt that failed where the next one may not; ``wait`` is for how many seconds the server asks."""

    def __init__(self, reason: str, wait: float | None = None):
        super().__init__(reason)
        self.wait = wait


class Part:
    """What has arrived of the file ``final``, in ``.<name>.part`` beside it.

    ``.<name>.version`` holds the validator (section 8.8) of the version that it is of, where the server gives one.
    """

    def __init__(self, final: Path):
        self.final = final
        self.path = final.with_name(f".{final.name}.part")
        self._version = final.with_name(f".{final.name}.version")

    @property
    def size(self) -> int:
        """In bytes."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> str | None:
        """The validator, or None where there is none."""
        return self._version.read_text(encoding="latin-1") if self._version.exists() else None

    def begin(self, version: str | None) -> None:
        """Drop what has arrived; what arrives from now on is of ``version``."""
        self.discard()
        if version is not None:
            self._version.write_text(version, encoding="latin-1")

    def discard(self) -> None:
        """Drop what has arrived."""
        self.path.unlink(missing_ok=True)
        self._version.unlink(missing_ok=True)


@dataclass(frozen=True)
class Transfer:
    """The file at ``url`` on its way into ``part``.

    ``size`` is the published one in bytes, None where unknown. ``checked`` says whether the whole will be compared with
    a published hash, so that parts may be joined where the server cannot tell their version. ``timeout`` is for
    connecting and for each read, in seconds.
    """

    url: str
    part: Part
    size: int | None
    checked: bool
    timeout: tuple[float, float]

    def run(self, attempts: int, wait: float) -> None:
        """Make attempts until all has arrived.

        Raises:
            ScansynthError: after ``attempts`` in a row without progress, with ``wait`` seconds after the first and
                twice as many after each further one, or what the server asks for; at once where another attempt
                cannot help.
            OSError: if the disk is full.
        """
        failures, most = 0, self.part.size
        with requests.Session() as session:
            session.hooks["response"].append(self._refuse_downgrade)
            while not self.size or self.part.size != self.size:  # an empty file has to be asked for, too
                try:
                    return self._attempt(session)
                except CutError as error:
                    # Progress is more than ever before, so that a server that begins again each time comes to an end.
                    failures = 1 if self.part.size > most else failures + 1
                    most = max(most, self.part.size)
                    if failures >= attempts:
                        kept = f" {self.part.size:,} bytes are kept, to go on from." if self.part.size else ""
                        raise self._refusal(
                            f"gave up after {failures} attempts without progress: {error}.{kept}"
                        ) from error
                    pause = min(wait * 2 ** (failures - 1) if error.wait is None else error.wait, LONGEST_WAIT)
                    print(f"{self.url}: {error}; going on in {pause:.0f} s", file=sys.stderr)
                    sleep(pause)

    def _attempt(self, session: requests.Session) -> None:
        """Ask for what is missing, and append what comes."""
        if self.part.version is None and not self.checked:
            self.part.discard()  # nothing would tell that two versions were joined
        headers = {"Accept-Encoding": "identity"}  # the file's own bytes
        if self.part.size:
            headers["Range"] = f"bytes={self.part.size}-"
            if self.part.version is not None:
                headers["If-Range"] = self.part.version
        try:
            with session.get(self.url, headers=headers, timeout=self.timeout, stream=True) as response:
                if response.status_code == 416:
                    self._check_all_was_here(response)
                else:
                    self._receive(response, *self._extent(response))
        except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
            cause = _innermost(error)
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise ScansynthError(
                    f"{self.url}: the server's certificate cannot be verified ({cause.verify_message}). Where a proxy "
                    "of your institution opens encrypted connections, set REQUESTS_CA_BUNDLE to a file with the "
                    "certificates of its authority. Nothing is fetched without verification."
                ) from None
            raise CutError(str(cause)) from error
        except (requests.RequestException, ValueError) as error:  # the latter from a redirect to no address
            raise self._refusal(f"cannot be fetched: {error}") from error
        except OSError as error:
            if error.errno is not None:
                raise
            # requests' own, where REQUESTS_CA_BUNDLE leads nowhere.
            raise ScansynthError(f"{self.url}: {error}. Mend REQUESTS_CA_BUNDLE or unset it.") from None

    def _extent(self, response: requests.Response) -> tuple[int, int | None]:
        """The offset of the first byte that is sent, and the size of the whole file where the server says it."""
        status = response.status_code
        if status == 200:
            return 0, response.raw.length_remaining
        if status == 206:
            extent = re.fullmatch(r"bytes (\d+)-\d+/(?:(\d+)|\*)", response.headers.get("Content-Range", ""))
            same = self.part.version is None or _version(response) in (None, self.part.version)
            if extent and same and int(extent[1]) == self.part.size:
                return self.part.size, int(extent[2]) if extent[2] else None
            self.part.discard()
            raise CutError("the server sent another part than was asked for, or one of another version of the file")
        if status in PASSING:
            seconds = None
            with suppress(InvalidHeader):
                seconds = Retry().get_retry_after(response.raw)
            raise CutError(f"the server answered {status} ({response.reason})", seconds)
        raise self._refusal(f"the server answered {status} ({response.reason}).")

    def _check_all_was_here(self, response: requests.Response) -> None:
        """The answer 416 says that nothing follows what has arrived: because it is all, or is of another file."""
        total = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", ""))
        whole = int(total[1]) == self.part.size if total else self.checked and self.size is None  # the hash will tell
        if not whole:
            self.part.discard()
            raise CutError("what had arrived is not of the file as it is now")

    def _receive(self, response: requests.Response, start: int, total: int | None) -> None:
        if None not in (total, self.size) and total != self.size:
            # Often a login page, and gone later: what has arrived is none the worse.
            kind = response.headers.get("Content-Type", "of an unknown type")
            raise CutError(f"the server offers {total:,} bytes ({kind}) instead of {self.size:,}")
        total = self.size if total is None else total
        if start == 0:
            self.part.begin(_version(response))
        if total is not None:
            self._check_space(total - start)
        progress = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, "mininterval": 1}
        with (
            self.part.path.open("ab") as handle,
            tqdm(desc=self.part.final.name, initial=start, total=total, **progress) as bar,
        ):
            # read1 passes on what came before a cut, of which read would lose up to a chunk.
            while chunk := response.raw.read1(CHUNK, decode_content=False):
                handle.write(chunk)
                bar.update(len(chunk))
                if total is not None and handle.tell() > total:
                    break
        if total is not None and self.part.size > total:
            self.part.discard()
            raise CutError(f"the server sent more than the {total:,} bytes of the file")
        if total is not None and self.part.size < total:
            raise CutError(f"the connection ended after {self.part.size:,} of {total:,} bytes")

    def _check_space(self, needed: int) -> None:
        folder = self.part.path.parent
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise ScansynthError(
                f"{folder}: {self.part.final.name} needs {needed:,} more bytes, and {free:,} are free. "
                "Make room and start again: what has arrived is kept."
            )

    def _refuse_downgrade(self, response: requests.Response, **_: Any) -> None:
        """Called with each response before a redirect is followed."""
        target = urlsplit(urljoin(response.url, response.headers.get("Location", "")))
        if response.is_redirect and urlsplit(response.url).scheme == "https" and target.scheme != "https":
            raise self._refusal(
                f"the server redirects to {target.scheme}://{target.hostname}, which is not encrypted: refused."
            )

    def _refusal(self, found: str) -> ScansynthError:
        return ScansynthError(
            f"{self.url}: {found} Start again later, or try the address in a browser: a file that you save yourself as "
            f"{self.part.final} is checked and used at the next start."
        )


def _version(response: requests.Response) -> str | None:
    """The validator to resume by: a strong ETag, else the time of the last change (section 13.1.5)."""
    tag = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _innermost(error: Exception) -> Exception:
    """What urllib3 and requests have wrapped."""
    inner = [getattr(error, "reason", None), *error.args]
    return next((_innermost(value) for value in inner if isinstance(value, Exception)), error)
