"""Ports of this machine, and whether Kafka answers on one."""

import random
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress

from common.runtime.errors import ConfigurationError

HOST = "127.0.0.1"

DEFAULT_PORT = 9092

# Below the range from which systems give ports to outgoing connections: a client that keeps reconnecting to a broker
# that is down could otherwise be given the broker's own port, and hold it.
_FREE_PORTS = range(20_000, 30_000)

_API_VERSIONS = 18


def is_free(port: int) -> bool:
    """True if nothing listens on the port, and we may."""
    with socket.socket() as probe:
        probe.settimeout(1)
        # macOS lets a socket bind beside one that listens on all addresses.
        if probe.connect_ex((HOST, port)) == 0:
            return False
    with socket.socket() as probe:
        # As Java does: connections of a broker that has just stopped linger, and are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError:
            return False
    return True


def first_free(start: int) -> int:
    """The first free port from `start` on. Raises ConfigurationError if a hundred are taken."""
    return _first(range(start, min(start + 100, 65_536)))


def any_free() -> int:
    """A free port that no outgoing connection is given, chosen at random. Raises ConfigurationError if there is none."""
    return _first(random.sample(_FREE_PORTS, 100))


def _first(ports: Sequence[int]) -> int:
    found = next((port for port in ports if is_free(port)), None)
    if found is None:
        raise ConfigurationError(
            f"ports of {HOST}: {len(ports)} of {min(ports)} to {max(ports)} tried, found none free"
        )
    return found


def answers(port: int, timeout_s: float = 2.0) -> bool:
    """True if a Kafka broker answers an ApiVersions request without an error.

    It listens before it serves: only an answer means that it is ready.
    """
    correlation_id = random.getrandbits(31)
    body = struct.pack(">hhih", _API_VERSIONS, 0, correlation_id, -1)
    with suppress(OSError), socket.create_connection((HOST, port), timeout_s) as connection:
        connection.settimeout(timeout_s)
        connection.sendall(struct.pack(">i", len(body)) + body)
        with connection.makefile("rb") as stream:
            answer = stream.read(10)
        if len(answer) == 10:
            _, answered, error = struct.unpack(">iih", answer)
            return bool(answered == correlation_id and error == 0)
    return False
