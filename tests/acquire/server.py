"""An HTTP(S) server on loopback that fails as told."""

import datetime
import ipaddress
import re
import socket
import ssl
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclass
class Answer:
    """What is unusual in the answer to one request."""

    status: int | None = None  # with no content, in place of 200 or 206
    headers: dict[str, str | None] = field(default_factory=dict)  # more or other ones; None drops one
    content: bytes | None = None  # in place of the file's
    ranges: bool = True  # whether Range is honoured
    shift: int = 0  # a range begins so many bytes from where it was asked for
    cut: int | None = None  # the connection ends after so many bytes of the body,
    reset: bool = False  # and that with a reset
    hold: bool = False  # the connection stays open after the cut until the server ends
    chunked: bool = False
    delay: float = 0  # seconds before anything is sent
    gate: threading.Event | None = None  # nothing is sent before it is set


@dataclass
class Request:
    """A request that came, and what was sent for it."""

    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0  # bytes of the body


class Server:
    """Serves ``files`` by path; each request takes the next of ``answers``, or ``otherwise`` when there is none."""

    def __init__(self, certificate: Path | None = None):
        self.files: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.answers: deque[Answer] = deque()
        self.otherwise = Answer()
        self.requests: list[Request] = []
        self.ended = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"owner": self}))
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # of clients that go away, as they should in these tests
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self.address = f"http{'s' if certificate else ''}://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_) -> None:
        self.ended.set()
        self._http.shutdown()
        self._http.server_close()

    def serve(self, path: str, content: bytes, *answers: Answer, etag: str | None = None) -> str:
        """Serve a file, after the given unusual answers; its address."""
        self.files[path] = content
        self.etags.pop(path, None)
        if etag is not None:
            self.etags[path] = etag
        self.requests.clear()
        self.answers = deque(answers)
        self.otherwise = Answer()
        return self.address + path

    @property
    def sent(self) -> int:
        """Bytes of bodies that were sent since ``serve``."""
        return sum(request.sent for request in self.requests)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: Server

    def do_GET(self) -> None:
        server = self.owner
        request = Request(urlsplit(self.path).path, {name.lower(): value for name, value in self.headers.items()})
        server.requests.append(request)
        answer = server.answers.popleft() if server.answers else server.otherwise
        time.sleep(answer.delay)
        if answer.gate:
            answer.gate.wait()
        status, headers, body = self._usual(request, answer)
        request.status = status
        if answer.chunked:
            headers["Content-Length"] = None
            headers["Transfer-Encoding"] = "chunked"
        headers |= answer.headers
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self._send(request, answer, body)

    def _usual(self, request: Request, answer: Answer) -> tuple[int, dict[str, str | None], bytes]:
        server = self.owner
        content = server.files.get(request.path) if answer.content is None else answer.content
        if answer.status is not None or content is None:
            return answer.status or 404, {"Content-Length": "0"}, b""
        headers: dict[str, str | None] = {"Accept-Ranges": "bytes"}
        etag = server.etags.get(request.path)
        if etag is not None:
            headers["ETag"] = etag
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        if not wanted or not answer.ranges or request.headers.get("if-range", etag) != etag:
            return 200, headers | {"Content-Length": str(len(content))}, content
        start = int(wanted[1]) + answer.shift
        if start >= len(content):
            return 416, headers | {"Content-Length": "0", "Content-Range": f"bytes */{len(content)}"}, b""
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return 206, headers | {"Content-Length": str(len(content) - start)}, content[start:]

    def _send(self, request: Request, answer: Answer, body: bytes) -> None:
        end = len(body) if answer.cut is None else min(answer.cut, len(body))
        step = 10_000 if answer.chunked else 65_536
        for start in range(0, end, step):
            piece = body[start : min(start + step, end)]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if answer.chunked else piece)
            request.sent += len(piece)
        if answer.cut is None:
            self.wfile.write(b"0\r\n\r\n" if answer.chunked else b"")
            return
        self.close_connection = True
        if answer.hold:
            self.owner.ended.wait()
        if answer.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, *_) -> None:
        """Keep still."""


def self_signed(path: Path) -> Path:
    """Write a new key and a certificate for 127.0.0.1 that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path
