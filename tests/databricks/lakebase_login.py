"""What stands before a Lakebase database: TLS and logging in with a token, then the real PostgreSQL behind it.

As on the platform a token is the password of the role that is its principal, several are good at a time, and it is
looked at when one logs in only: connections stay when it ends. PostgreSQL itself listens on a socket in a folder of its
own and trusts what comes from here.
"""

import contextlib
import datetime
import secrets
import select
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PORT = 5432
ATTEMPTS = 30
# Request codes of PostgreSQL's protocol ("Message Formats" of its documentation).
SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
CLEARTEXT = b"R" + struct.pack("!ii", 8, 3)
LARGEST_PACKET = 10_000
LOGIN_SECONDS = 30


@dataclass
class Login:
    """A listener at `host`, port 5432. `allows` says whether a token is this role's and still good."""

    host: str
    behind: Path
    allows: Callable[[str, str], bool]
    _listener: socket.socket = field(repr=False)
    _context: ssl.SSLContext = field(repr=False)

    def stop(self) -> None:
        """Take no more connections; those there are end with PostgreSQL."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def accept(self) -> None:
        """Serve until `stop`, each connection in a thread."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # A client may go at any moment, and PostgreSQL may be stopped.
        with contextlib.suppress(OSError, EOFError, ssl.SSLError):
            connection.settimeout(LOGIN_SECONDS)
            with self._secured(connection) as secured, socket.socket(socket.AF_UNIX) as inner:
                inner.connect(str(self.behind))
                packet = _packet(secured)
                if _code(packet) != CANCEL_REQUEST and not self._logged_in(secured, packet):
                    return
                inner.sendall(packet)
                secured.settimeout(None)
                _pump(secured, inner)

    def _secured(self, connection: socket.socket) -> ssl.SSLSocket:
        """The connection with TLS, which clients have to ask for."""
        packet = _packet(connection)
        while _code(packet) == GSS_REQUEST:
            connection.sendall(b"N")
            packet = _packet(connection)
        if _code(packet) != SSL_REQUEST:
            connection.sendall(_error("28000", "SSL connection is required"))
            connection.close()
            raise EOFError
        connection.sendall(b"S")
        return self._context.wrap_socket(connection, server_side=True)

    def _logged_in(self, secured: ssl.SSLSocket, packet: bytes) -> bool:
        words = packet[8:].split(b"\0")
        user = dict(zip(words[::2], words[1::2], strict=False)).get(b"user", b"").decode()
        secured.sendall(CLEARTEXT)
        kind = _exactly(secured, 1)
        password = _packet(secured)[4:-1].decode()
        if kind == b"p" and self.allows(user, password):
            return True
        secured.sendall(_error("28P01", f'password authentication failed for user "{user}"'))
        return False


def start(behind: Path, allows: Callable[[str, str], bool]) -> Login:
    """Listen before the PostgreSQL whose socket is `behind`.

    Every one has an address of its own, since clients know Lakebase's port as 5432: one of the many loopback addresses
    Linux has. Raises RuntimeError where there is none with that port free.
    """
    listener = _listener()
    host = str(listener.getsockname()[0])
    made = Login(host, behind, allows, listener, _tls(host))
    threading.Thread(target=made.accept, daemon=True, name=f"lakebase at {host}").start()
    return made


def _listener() -> socket.socket:
    for _ in range(ATTEMPTS):
        numbers = [64 + secrets.randbelow(63), secrets.randbelow(256), 1 + secrets.randbelow(254)]
        with contextlib.suppress(OSError):
            return socket.create_server((".".join(map(str, [127, *numbers])), PORT))
    raise RuntimeError(f"no loopback address with port {PORT} free: Lakebase is emulated on Linux only")


def _tls(host: str) -> ssl.SSLContext:
    """With a certificate of its own, which clients that ask for `sslmode=require` take."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + certificate.public_bytes(pem))
        file.flush()
        context.load_cert_chain(file.name)
    return context


def _exactly(connection: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        part = connection.recv(length - len(found))
        if not part:
            raise EOFError
        found += part
    return found


def _packet(connection: socket.socket) -> bytes:
    """A packet that begins with its own length."""
    head = _exactly(connection, 4)
    length = int(struct.unpack("!i", head)[0])
    if not 4 <= length <= LARGEST_PACKET:
        raise EOFError
    return head + _exactly(connection, length - 4)


def _code(packet: bytes) -> int:
    return int(struct.unpack("!i", packet[4:8])[0]) if len(packet) >= 8 else 0


def _error(code: str, message: str) -> bytes:
    fields = b"SFATAL\0VFATAL\0C" + code.encode() + b"\0M" + message.encode() + b"\0\0"
    return b"E" + struct.pack("!i", len(fields) + 4) + fields


def _pump(secured: ssl.SSLSocket, inner: socket.socket) -> None:
    """Pass bytes on both ways until an end closes."""
    while True:
        # What TLS has decrypted already isn't readable any more.
        readable = [secured] if secured.pending() else select.select([secured, inner], [], [])[0]
        for one, other in ((secured, inner), (inner, secured)):
            if one in readable:
                data = one.recv(65536)
                if not data:
                    return
                other.sendall(data)
