"""The proxy does to connections what its name for it says."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from ops.broker import network
from ops.broker.network import HOST
from tests.chaos.proxy import Proxy, ProxyLoop

LONG_S = 10.0
"""More than anything here takes on a loaded machine."""

SHORT_S = 0.3


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says what it hears."""

    def serve(connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):
            while data := connection.recv(100):
                connection.sendall(data)

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server((HOST, 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    loop = ProxyLoop()
    made = Proxy(loop, network.any_free(), echo)
    yield made
    made.end()
    loop.end()


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((HOST, proxy.port), LONG_S)


def answer(connection: socket.socket, said: bytes = b"hello") -> bytes:
    connection.sendall(said)
    return connection.recv(100)


def test_it_passes_on(proxy: Proxy) -> None:
    with connect(proxy) as one, connect(proxy) as other:
        assert answer(one, b"one") == b"one"
        assert answer(other, b"other") == b"other"


def test_a_cut_connection_is_reset_and_a_new_one_works(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert answer(connection) == b"hello"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            connection.recv(100)
    with connect(proxy) as connection:
        assert answer(connection) == b"hello"


def test_while_it_refuses_nobody_gets_in(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        assert answer(connection) == b"hello"
        with proxy.refusing():
            with pytest.raises(ConnectionResetError):
                connection.recv(100)
            with pytest.raises(ConnectionRefusedError):
                connect(proxy)
    with connect(proxy) as connection:
        assert answer(connection) == b"hello"


def test_while_it_delays_each_way_takes_longer(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        with proxy.delaying(SHORT_S):
            began = time.monotonic()
            assert answer(connection) == b"hello"
            assert time.monotonic() - began >= 2 * SHORT_S
        assert answer(connection) == b"hello"


def test_while_it_is_frozen_nothing_passes_and_nothing_is_lost(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        with proxy.frozen():
            connection.sendall(b"kept")
            connection.settimeout(SHORT_S)
            with pytest.raises(TimeoutError):
                connection.recv(100)
        connection.settimeout(LONG_S)
        assert connection.recv(100) == b"kept"


def test_a_target_that_is_away_ends_the_connection(proxy: Proxy) -> None:
    away = Proxy(proxy.loop, network.any_free(), network.any_free())
    with connect(away) as connection:
        assert connection.recv(100) == b""
    away.end()
