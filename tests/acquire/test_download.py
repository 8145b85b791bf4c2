import errno
import hashlib
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scansynth.acquire import download, transfer
from scansynth.acquire.download import Remote, fetch, read_checksums
from scansynth.errors import ScansynthError

_SPEC = importlib.util.spec_from_file_location("faulty_server", Path(__file__).with_name("server.py"))
faulty = sys.modules["faulty_server"] = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(faulty)
Answer, Server = faulty.Answer, faulty.Server

CONTENT = random.Random(0).randbytes(300_000)
OTHER = random.Random(1).randbytes(300_000)


@pytest.fixture(scope="module")
def server():
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    return faulty.self_signed(tmp_path_factory.mktemp("tls") / "key_and_certificate.pem")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """The seconds that were waited for, without waiting."""
    seconds: list[float] = []
    monkeypatch.setattr(transfer, "sleep", seconds.append)
    return seconds


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


def remote(url: str, content: bytes = CONTENT, name: str = "a/b.bin", **changes) -> Remote:
    return Remote(**{"url": url, "name": name, "hash": md5(content), "bytes": len(content)} | changes)


def get(folder: Path, what: Remote, content: bytes = CONTENT, **options) -> None:
    path = fetch(what, folder, **{"wait": 0, "timeout": (1, 5)} | options)
    assert path == folder / what.name
    assert path.read_bytes() == content
    assert helpers(folder) == [".b.bin.lock"]


def fail(folder: Path, what: Remote, **options) -> str:
    """The message of a fetch that fails, and leaves nothing under the final name."""
    with pytest.raises(ScansynthError) as caught:
        fetch(what, folder, **{"wait": 0, "timeout": (1, 5)} | options)
    assert not (folder / what.name).exists()
    return str(caught.value)


def helpers(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "a").iterdir() if path.name.startswith("."))


# What is there already


def test_whole_file_is_fetched_once(server, tmp_path):
    url = server.serve("/b", CONTENT)
    get(tmp_path, remote(url))
    get(tmp_path, remote(url))
    assert [request.status for request in server.requests] == [200]
    assert (tmp_path / "a" / "b.bin").stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_finished_file_is_hashed_again_only_when_it_was_touched(server, tmp_path, monkeypatch):
    what = remote(server.serve("/b", CONTENT))
    get(tmp_path, what)
    hashed = []
    monkeypatch.setattr(download, "_check", lambda path, size, hash: hashed.append(path) or what.hash)
    get(tmp_path, what)
    assert hashed == []
    os.utime(tmp_path / what.name, (1, 1))
    get(tmp_path, what)
    get(tmp_path, what)
    assert hashed == [tmp_path / what.name]
    get(tmp_path, remote(what.url, hash=f"sha256:{'0' * 64}"))
    assert len(hashed) == 2
    (tmp_path / ".verified.json").write_text("{")
    get(tmp_path, what)
    assert len(hashed) == 3


def test_file_saved_by_hand_is_used(server, tmp_path):
    url = server.serve("/b", CONTENT)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.bin").write_bytes(CONTENT)
    get(tmp_path, remote(url))
    assert server.requests == []


@pytest.mark.parametrize(
    ("content", "known"),
    [(OTHER, {}), (OTHER, {"bytes": None}), (CONTENT[:-1], {"bytes": None}), (CONTENT[:-1], {"hash": None})],
)
def test_other_file_under_the_name_is_told_and_kept(server, tmp_path, content, known):
    url = server.serve("/b", CONTENT)
    path = tmp_path / "a" / "b.bin"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ScansynthError, match=r"b\.bin: not the file of .* instead of .* Move it away"):
        fetch(remote(url, **known), tmp_path)
    assert path.read_bytes() == content
    assert server.requests == []


def test_changed_file_without_published_hash_is_told(server, tmp_path):
    what = remote(server.serve("/b", CONTENT), hash=None, bytes=None)
    get(tmp_path, what)
    get(tmp_path, what)
    (tmp_path / what.name).write_bytes(OTHER)
    with pytest.raises(ScansynthError, match=r"sha256:.* instead of sha256:"):
        fetch(what, tmp_path)


def test_records_of_several_files(server, tmp_path):
    url = server.serve("/b", CONTENT)
    for name in ("c.bin", "a/b.bin"):
        fetch(remote(url, name=name), tmp_path)
    records = json.loads((tmp_path / ".verified.json").read_text())
    assert list(records) == ["a/b.bin", "c.bin"]
    assert {record["hash"] for record in records.values()} == {md5(CONTENT)}


# Cut and resumed


def test_cut_connection_is_resumed_by_range(server, tmp_path):
    url = server.serve("/b", CONTENT, Answer(cut=100_000), Answer(cut=150_000), etag='"1"')
    get(tmp_path, remote(url))
    assert [request.headers.get("range") for request in server.requests] == [None, "bytes=100000-", "bytes=250000-"]
    assert [request.headers.get("if-range") for request in server.requests] == [None, '"1"', '"1"']
    assert [request.status for request in server.requests] == [200, 206, 206]
    assert server.sent == len(CONTENT)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(
        st.builds(
            Answer,
            cut=st.integers(0, 200_000),
            reset=st.booleans(),
            chunked=st.booleans(),
            ranges=st.sampled_from([True, True, True, False]),
            status=st.sampled_from([None] * 7 + [503]),
        ),
        max_size=4,
    ),
    etag=st.sampled_from([None, '"1"', 'W/"1"']),
    known=st.sampled_from([{}, {"bytes": None}, {"hash": None}]),
)
def test_any_cuts_give_the_right_bytes(server, tmp_path_factory, cuts, etag, known):
    folder = tmp_path_factory.mktemp("cuts")
    url = server.serve("/b", CONTENT, *cuts, etag=etag)
    get(folder, remote(url, **known))
    assert len(server.requests) <= len(cuts) + 1


def test_progress_renews_the_attempts(server, tmp_path):
    url = server.serve("/b", CONTENT, *[Answer(cut=10)] * 40)
    get(tmp_path, remote(url), attempts=2)
    assert server.sent == len(CONTENT)


def test_server_that_begins_again_and_cuts_for_ever_is_given_up(server, tmp_path):
    url = server.serve("/b", CONTENT)
    server.otherwise = Answer(cut=1000, ranges=False)
    message = fail(tmp_path, remote(url), attempts=3)
    assert "gave up after 3 attempts without progress" in message
    assert "1,000 bytes are kept" in message
    assert len(server.requests) == 3
    server.serve("/b", CONTENT, *[Answer(cut=1000, ranges=False), Answer(shift=7)] * 5)
    fail(tmp_path, remote(url), attempts=3)


def test_server_that_ignores_ranges_is_begun_again(server, tmp_path):
    url = server.serve("/b", CONTENT, Answer(cut=100_000), Answer(ranges=False))
    get(tmp_path, remote(url))
    assert [request.status for request in server.requests] == [200, 200]


def test_another_range_than_asked_for_is_not_joined(server, tmp_path):
    url = server.serve("/b", CONTENT, Answer(cut=100_000), Answer(shift=7))
    get(tmp_path, remote(url))
    assert [request.status for request in server.requests] == [200, 206, 200]


@pytest.mark.parametrize("value", [None, "bytes", "bytes 100000-", "bytes 0-9/10", "items 100000-299999/300000"])
def test_damaged_content_range_is_not_joined(server, tmp_path, value):
    url = server.serve("/b", CONTENT, Answer(cut=100_000), Answer(headers={"Content-Range": value}))
    get(tmp_path, remote(url))
    assert [request.status for request in server.requests] == [200, 206, 200]


@pytest.mark.parametrize("known", [{}, {"hash": None}, {"hash": None, "bytes": None}])
def test_changed_file_is_begun_again(server, tmp_path, known):
    url = server.serve("/b", OTHER, Answer(cut=100_000), etag='"old"')
    fail(tmp_path, remote(url, **known), attempts=1)
    assert ".b.bin.part" in helpers(tmp_path)
    server.serve("/b", CONTENT, etag='"new"')
    get(tmp_path, remote(url, **known))
    assert [request.headers.get("if-range") for request in server.requests] == ['"old"']
    assert [request.status for request in server.requests] == [200]


@pytest.mark.parametrize("known", [{}, {"hash": None}])
def test_changed_file_of_a_server_that_ignores_if_range(server, tmp_path, known):
    url = server.serve("/b", OTHER, Answer(cut=100_000), etag='"old"')
    fail(tmp_path, remote(url, **known), attempts=1)
    server.serve("/b", CONTENT, Answer(headers={"ETag": '"new"'}), etag='"old"')
    get(tmp_path, remote(url, **known))
    assert [request.status for request in server.requests] == [206, 200]


def test_last_modified_where_there_is_no_etag(server, tmp_path):
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    url = server.serve("/b", CONTENT, Answer(cut=100_000, headers={"Last-Modified": date}))
    get(tmp_path, remote(url))
    assert server.requests[1].headers["if-range"] == date


def test_nothing_is_joined_that_nothing_can_check(server, tmp_path):
    url = server.serve("/b", CONTENT, Answer(cut=100_000), etag='W/"weak"')
    get(tmp_path, remote(url, hash=None))
    assert [request.headers.get("range") for request in server.requests] == [None, None]


def test_changed_file_without_validator_is_found_by_its_hash(server, tmp_path, capfd):
    url = server.serve("/b", OTHER, Answer(cut=100_000))
    fail(tmp_path, remote(url), attempts=1)
    server.serve("/b", CONTENT)
    get(tmp_path, remote(url))
    assert [request.status for request in server.requests] == [206, 200]
    assert "fetching it once more" in capfd.readouterr().err


def test_part_that_is_whole_needs_no_request(server, tmp_path):
    url = server.serve("/b", CONTENT)
    put_part(tmp_path, CONTENT)
    get(tmp_path, remote(url))
    assert server.requests == []


def test_part_that_is_whole_where_the_size_is_unknown(server, tmp_path):
    url = server.serve("/b", CONTENT)
    put_part(tmp_path, CONTENT)
    get(tmp_path, remote(url, bytes=None))
    assert [request.status for request in server.requests] == [416]


def test_416_that_does_not_say_the_size(server, tmp_path):
    url = server.serve("/b", CONTENT, Answer(headers={"Content-Range": None}))
    put_part(tmp_path, CONTENT)
    get(tmp_path, remote(url, bytes=None))
    assert [request.status for request in server.requests] == [416]


@pytest.mark.parametrize("known", [{}, {"bytes": None}, {"bytes": None, "hash": None}])
def test_part_that_is_longer_than_the_file(server, tmp_path, known):
    url = server.serve("/b", CONTENT, etag='"1"')
    put_part(tmp_path, OTHER + b"more")
    (tmp_path / "a" / ".b.bin.version").write_text('"1"')
    get(tmp_path, remote(url, **known))
    assert [request.status for request in server.requests] == [416, 200]


def put_part(folder: Path, content: bytes) -> None:
    (folder / "a").mkdir()
    (folder / "a" / ".b.bin.part").write_bytes(content)


def test_slow_server_is_asked_again_from_where_it_stuck(server, tmp_path):
    url = server.serve("/b", CONTENT, Answer(cut=100_000, hold=True), Answer(delay=1))
    get(tmp_path, remote(url), timeout=(5, 0.5))
    assert [request.headers.get("range") for request in server.requests] == [None, "bytes=100000-", "bytes=100000-"]


def test_nobody_listens(tmp_path, waits):
    message = fail(tmp_path, remote("http://127.0.0.1:9/b"), wait=1)
    assert "Connection refused" in message
    assert waits == [1, 2, 4, 8]


# Other bytes than published


def test_wrong_checksum_is_tried_once_more(server, tmp_path):
    url = server.serve("/b", CONTENT, Answer(content=OTHER))
    get(tmp_path, remote(url))
    assert [request.status for request in server.requests] == [200, 200]


def test_wrong_checksum_twice(server, tmp_path):
    url = server.serve("/b", OTHER)
    message = fail(tmp_path, remote(url))
    assert f"{md5(OTHER)} instead of {md5(CONTENT)}" in message
    assert str(tmp_path / "a" / "b.bin") in message
    assert len(server.requests) == 2
    assert helpers(tmp_path) == [".b.bin.lock"]


def test_sha256(server, tmp_path):
    url = server.serve("/b", CONTENT)
    right = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    get(tmp_path, remote(url, hash=right))
    (tmp_path / "a" / "b.bin").unlink()
    assert right in fail(tmp_path, remote(url, hash=f"sha256:{'0' * 64}"))


def test_login_page_leaves_what_has_arrived(server, tmp_path):
    page = Answer(content=b"<html>Please log in", headers={"Content-Type": "text/html"}, ranges=False)
    url = server.serve("/b", CONTENT, Answer(cut=100_000), page)
    get(tmp_path, remote(url))
    assert server.requests[-1].headers["range"] == "bytes=100000-"
    server.serve("/b", CONTENT)
    server.otherwise = page
    message = fail(tmp_path / "other", remote(url))
    assert "offers 19 bytes (text/html) instead of 300,000" in message


@pytest.mark.parametrize("known", [{}, {"bytes": None}])
def test_content_length_that_is_too_long(server, tmp_path, known):
    """The body is whole, but only the second answer shows it."""
    url = server.serve("/b", CONTENT, Answer(headers={"Content-Length": "300010", "Connection": "close"}, cut=10**9))
    get(tmp_path, remote(url, **known))


def test_content_length_that_is_too_short(server, tmp_path):
    short = Answer(headers={"Content-Length": "299990", "Connection": "close"})
    url = server.serve("/b", CONTENT)
    server.otherwise = short
    assert "offers 299,990 bytes" in fail(tmp_path, remote(url))
    assert "instead of" in fail(tmp_path, remote(url, bytes=None))


def test_more_than_the_published_size_without_length(server, tmp_path):
    url = server.serve("/b", CONTENT + b"more")
    server.otherwise = Answer(chunked=True)
    assert "more than the 300,000 bytes" in fail(tmp_path, remote(url))


def test_chunked(server, tmp_path):
    url = server.serve("/b", CONTENT, Answer(chunked=True, cut=100_000), Answer(chunked=True))
    get(tmp_path, remote(url))
    assert server.sent == len(CONTENT)


def test_end_without_any_length_is_taken_for_a_cut(server, tmp_path):
    url = server.serve("/b", CONTENT, Answer(headers={"Content-Length": None}, cut=100_000))
    get(tmp_path, remote(url))
    assert server.sent == len(CONTENT)


def test_bytes_are_those_of_the_file_whatever_their_encoding_is_called(server, tmp_path):
    url = server.serve("/b", CONTENT, Answer(headers={"Content-Encoding": "gzip"}))
    get(tmp_path, remote(url))
    assert [request.headers["accept-encoding"] for request in server.requests] == ["identity"]


def test_empty_file(server, tmp_path):
    get(tmp_path, remote(server.serve("/b", b""), b""), b"")
    get(tmp_path / "other", remote(server.serve("/b", b""), b"", bytes=None), b"")


# Refusals and busy servers


@pytest.mark.parametrize("status", [401, 403, 404, 410, 204])
def test_refusal_is_final(server, tmp_path, status):
    url = server.serve("/b", CONTENT, Answer(status=status))
    message = fail(tmp_path, remote(url))
    assert f"{url}: the server answered {status}" in message
    assert f"a file that you save yourself as {tmp_path / 'a' / 'b.bin'}" in message
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_busy_server_is_asked_again(server, tmp_path, waits, status):
    url = server.serve("/b", CONTENT, *[Answer(status=status)] * 3)
    get(tmp_path, remote(url), wait=1)
    assert waits == [1, 2, 4]


def test_busy_server_that_says_when(server, tmp_path, waits):
    values = ["7", "0", "100000", "soon", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))]
    url = server.serve("/b", CONTENT, *(Answer(status=503, headers={"Retry-After": value}) for value in values))
    get(tmp_path, remote(url), wait=1, attempts=6)
    assert waits[:4] == [7, 0, transfer.LONGEST_WAIT, 8]
    assert waits[4] == pytest.approx(30, abs=2)


def test_server_that_stays_busy(server, tmp_path, waits):
    url = server.serve("/b", CONTENT)
    server.otherwise = Answer(status=503)
    assert "gave up after 5 attempts without progress: the server answered 503" in fail(tmp_path, remote(url))
    assert len(server.requests) == 5
    assert len(waits) == 4


def test_failure_keeps_what_has_arrived(server, tmp_path):
    url = server.serve("/b", CONTENT, Answer(cut=100_000), Answer(status=404))
    fail(tmp_path, remote(url))
    server.serve("/b", CONTENT)
    get(tmp_path, remote(url))
    assert server.sent == 200_000


# Redirects, TLS, proxies


@pytest.mark.parametrize("location", ["/b", "b", "//127.0.0.1:{port}/b", "http://localhost:{port}/b", "/c/../b?x=1#y"])
def test_redirect(server, tmp_path, location):
    url = server.serve("/b", CONTENT)
    port = url.split(":")[2].split("/")[0]
    redirect = Answer(status=302, headers={"Location": location.format(port=port)})
    server.answers.extend([redirect, Answer(cut=100_000), redirect])
    get(tmp_path, remote(server.address + "/elsewhere"))
    assert [request.status for request in server.requests] == [302, 200, 302, 206]


def test_redirects_in_a_circle(server, tmp_path):
    url = server.serve("/b", CONTENT)
    server.otherwise = Answer(status=302, headers={"Location": "/b"})
    assert "Exceeded 30 redirects" in fail(tmp_path, remote(url))


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/b", "http://["])
def test_redirect_to_what_is_not_http(server, tmp_path, location):
    url = server.serve("/b", CONTENT, Answer(status=302, headers={"Location": location}))
    assert "cannot be fetched" in fail(tmp_path, remote(url))


def test_certificate_that_cannot_be_verified(certificate, tmp_path):
    with Server(certificate) as server:
        message = fail(tmp_path, remote(server.serve("/b", CONTENT)))
        assert server.requests == []
    assert "certificate cannot be verified (self-signed certificate)" in message
    assert "REQUESTS_CA_BUNDLE" in message


def test_authority_of_the_institution(certificate, tmp_path, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with Server(certificate) as server:
        get(tmp_path, remote(server.serve("/b", CONTENT, Answer(cut=100_000))))
        assert server.sent == len(CONTENT)


def test_authority_that_is_not_there(certificate, tmp_path, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "nowhere.pem"))
    with Server(certificate) as server:
        message = fail(tmp_path, remote(server.serve("/b", CONTENT)))
    assert "nowhere.pem" in message
    assert "Mend REQUESTS_CA_BUNDLE" in message


def test_encryption_is_never_given_up(server, certificate, tmp_path, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    plain = server.serve("/b", CONTENT)
    with Server(certificate) as encrypted:
        url = encrypted.serve("/b", CONTENT, Answer(status=302, headers={"Location": plain}))
        assert "redirects to http://127.0.0.1, which is not encrypted" in fail(tmp_path, remote(url))
        assert server.requests == []
        server.serve("/b", CONTENT, Answer(status=302, headers={"Location": url}))
        get(tmp_path, remote(plain))


def test_proxy_of_the_environment(server, tmp_path, monkeypatch):
    server.serve("/b", CONTENT)
    monkeypatch.setenv("http_proxy", server.address)
    get(tmp_path, remote("http://data.invalid/b"))


# The disk, and processes


def test_too_little_room_is_told_before_anything_is_fetched(server, tmp_path):
    url = server.serve("/b", CONTENT, Answer(headers={"Content-Length": str(10**15)}, cut=10))
    message = fail(tmp_path, remote(url, bytes=10**15))
    assert f"{tmp_path / 'a'}: b.bin needs {10**15:,} more bytes, and " in message
    assert not (tmp_path / "a" / ".b.bin.part").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_disk_that_fills_up(server, tmp_path, monkeypatch):
    url = server.serve("/b", CONTENT)
    monkeypatch.setattr(transfer.Part, "begin", lambda part, version: part.path.symlink_to("/dev/full"))
    with pytest.raises(OSError, match="No space left") as caught:
        fetch(remote(url), tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert not (tmp_path / "a" / "b.bin").exists()


FETCH = """
import sys
from pathlib import Path
from scansynth.acquire.download import Remote, fetch
url, hash, folder = sys.argv[1:]
fetch(Remote(url, "a/b.bin", hash, None), Path(folder), wait=0)
"""


def start(url: str, folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", FETCH, url, md5(CONTENT), str(folder)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_killed_process_is_resumed(server, tmp_path):
    url = server.serve("/b", CONTENT, Answer(cut=200_000, hold=True), etag='"1"')
    process = start(url, tmp_path)
    part = tmp_path / "a" / ".b.bin.part"
    _wait_for(lambda: part.exists() and part.stat().st_size > 150_000)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "a" / "b.bin").exists()
    size = part.stat().st_size
    get(tmp_path, remote(url))
    assert server.requests[1].headers["range"] == f"bytes={size}-"
    assert server.requests[1].headers["if-range"] == '"1"'
    assert server.requests[1].sent == len(CONTENT) - size


def test_two_processes_fetch_once(server, tmp_path):
    gate = threading.Event()
    url = server.serve("/b", CONTENT, Answer(gate=gate))
    first = start(url, tmp_path)
    _wait_for(lambda: server.requests)
    second = start(url, tmp_path)
    assert "waiting for another process that is fetching" in second.stderr.readline()
    gate.set()
    errors = [process.communicate()[1] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], errors
    get(tmp_path, remote(url))
    assert len(server.requests) == 1


def _wait_for(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


# Names and lists of checksums


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "/etc/passwd", "../a", "a/../../b", "a//b", "a/", "./a", "a\\b", ".a", "a/.b.part", "a\n", "\0"],
)
def test_name_that_leads_elsewhere(name):
    with pytest.raises(ScansynthError, match="cannot be the name of a file to fetch"):
        remote("http://example.org", name=name)


@pytest.mark.parametrize("hash", ["", "md5:", "abc", f"md5:{'0' * 31}", f"MD5:{'0' * 32}", f"sha1:{'0' * 40}"])
def test_hash_that_is_none(hash):
    with pytest.raises(ScansynthError, match=r"b\.bin: its hash is"):
        remote("http://example.org", hash=hash)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/b", "example.org/b", ""])
def test_address_that_is_not_http(url):
    with pytest.raises(ScansynthError, match="only http:// and https:// are fetched"):
        remote(url)


def test_checksums():
    a, b = "0123456789abcdef" * 2, "f" * 32
    text = f"{a.upper()}  ./images/normal 1.tif\r\n\n{b} *annotations/x.xml\n{b}  annotations/x.xml\n"
    assert read_checksums(text) == {"images/normal 1.tif": f"md5:{a}", "annotations/x.xml": f"md5:{b}"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "it is empty"),
        ("\n\n", "it is empty"),
        ("<html>Not found</html>", "line 1: found '<html>"),
        (f"{'0' * 32}  a\n{'0' * 31}  b", "line 2"),
        (f"{'0' * 64}  a", "line 1"),
        (f"{'0' * 32}", "line 1"),
        (f"{'0' * 32} a", "line 1"),
        (f"MD5 (a) = {'0' * 32}", "line 1"),
        (f"{'0' * 32}  ../a", "cannot be the name"),
        (f"{'0' * 32}  /a", "cannot be the name"),
        (f"\\{'0' * 32}  a\\\\b", "line 1"),
        (f"{'0' * 32}  a\n{'1' * 32}  a", "line 2: a has another checksum"),
    ],
)
def test_garbage_among_checksums(text, found):
    with pytest.raises(ScansynthError) as caught:
        read_checksums(text)
    assert found in str(caught.value)
