"""A TCP proxy whose connections can be cut, refused, delayed and frozen."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ops.broker.network import HOST

T = TypeVar("T")

CHUNK_BYTES = 64 * 1024
ANSWER_S = 30.0
"""How long the loop may take to do as it is told: it only waits for sockets."""


class ProxyLoop:
    """The thread in which all proxies run."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(ANSWER_S)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ANSWER_S)


class Proxy:
    """Passes on what arrives at `port` to `target`, both of this machine. Its methods may be called from any thread."""

    def __init__(self, loop: ProxyLoop, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self.loop = loop
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._delay_s = 0.0
        loop.call(self._listen())

    def cut(self) -> None:
        """Reset every connection; new ones are welcome."""
        self.loop.call(self._reset())

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Reset every connection, and refuse new ones while the block runs."""
        self.loop.call(self._close())
        try:
            yield
        finally:
            self.loop.call(self._listen())

    @contextmanager
    def delaying(self, seconds: float) -> Iterator[None]:
        """Hold back each piece of data, either way, for so long."""
        self._delay_s = seconds
        try:
            yield
        finally:
            self._delay_s = 0.0

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Take connections and data, and pass on nothing until the block ends."""
        self.loop.call(_run(self._open.clear))
        try:
            yield
        finally:
            self.loop.call(_run(self._open.set))

    def end(self) -> None:
        self.loop.call(self._close())

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, self.port)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._reset()

    async def _reset(self) -> None:
        pumps = list(self._pumps)
        for pump in pumps:
            pump.cancel()
        for writer in list(self._writers):
            _reset_on_close(writer)
            writer.transport.abort()
        await asyncio.gather(*pumps, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._open.wait()
            target_reader, target_writer = await asyncio.open_connection(HOST, self._target)
        except OSError:
            self._forget(writer)
            return
        self._writers.add(target_writer)
        for source, sink in ((reader, target_writer), (target_reader, writer)):
            pump = asyncio.ensure_future(self._pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(CHUNK_BYTES):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                await self._open.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            self._forget(sink)

    def _forget(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.close()


async def _run(action: Callable[[], None]) -> None:
    action()


def _reset_on_close(writer: asyncio.StreamWriter) -> None:
    """A reset, not an orderly end: what a cable does."""
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
