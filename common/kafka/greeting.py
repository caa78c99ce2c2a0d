"""The first connection to a cluster: what does not fit is told by the setting to look at, before any client is built."""

import ssl
import time

from kafka.errors import (
    IllegalSaslStateError,
    KafkaError,
    KafkaTimeoutError,
    RequestTimedOutError,
    UnsupportedSaslMechanismError,
)
from kafka.net.connection import KafkaConnection
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from common.kafka.client import client_config, listens, reachable, unknown_names
from common.kafka.refusals import Refusal, Step
from common.runtime.errors import BrokerUnreachableError, ConfigurationError
from common.settings import KafkaSettings

GREETINGS = 2
"""How often a broker has to hang up before that counts as its answer."""
GREETING_PAUSE_S = 1.0
GREETING_TIMEOUT_S = 10.0


def greet(settings: KafkaSettings) -> None:
    """Connect, log in and ask a first question, as every client does at its start, so that a refusal is told as such.

    Raises ConfigurationError naming the setting that is refused, BrokerUnreachableError where nobody answers.
    """
    _check_files(settings)
    servers = [server for server in map(str.strip, settings.bootstrap_servers.split(",")) if listens(server)]
    refusals: list[Refusal] = []
    for _ in range(GREETINGS if servers else 0):
        refusals = []
        for server in servers:
            refusal = _refusal(settings, server)
            if refusal is None:
                return
            if refusal.final:
                raise refusal.explained(settings) from refusal.error
            silent = isinstance(refusal.error, KafkaTimeoutError | RequestTimedOutError)
            if not silent:  # who says nothing refuses nothing
                refusals.append(refusal)
        if not refusals:
            break
        time.sleep(GREETING_PAUSE_S)
    for refusal in refusals:
        if refusal.answered or _speaks_otherwise(settings, refusal.server):
            raise refusal.explained(settings) from refusal.error
    raise no_answer(settings)


def _speaks_otherwise(settings: KafkaSettings, server: str) -> bool:
    """Whether a listener that hangs up would answer with TLS where the settings have none, or without it."""
    encrypted = settings.security_protocol in {"SSL", "SASL_SSL"}
    found = _refusal(KafkaSettings(security_protocol="PLAINTEXT" if encrypted else "SSL"), server)
    return found is None or found.answered


def _refusal(settings: KafkaSettings, server: str) -> Refusal | None:
    """How one connection to this server ends; None when it is there to be used."""
    net = NetworkSelector()
    manager = KafkaConnectionManager(net, **(client_config(settings) | {"bootstrap_servers": [server]}))
    node = manager.cluster.bootstrap_brokers()[0].node_id
    connection: KafkaConnection = manager.get_connection(
        node, timeout_ms=GREETING_TIMEOUT_S * 1_000, pop_on_close=False, refresh_metadata_on_err=False
    )

    async def use() -> None:
        await manager.wait_for(connection.init_future, GREETING_TIMEOUT_S * 1_000)
        await manager.wait_for(manager.call_soon(manager.cluster.refresh_metadata, node), GREETING_TIMEOUT_S * 1_000)

    try:
        manager.run(use)
    except (KafkaError, OSError) as error:
        return Refusal(server, _step(connection, error), error)
    finally:
        manager.close()
        net.close()
    return None


def _step(connection: KafkaConnection, error: BaseException) -> Step:
    """How far a connection came that ended with this error."""
    if isinstance(error, UnsupportedSaslMechanismError | IllegalSaslStateError):
        return Step.MECHANISM
    if connection.broker_version_data is None:
        return Step.CONNECT
    return Step.USE if connection.init_future.succeeded() else Step.LOGIN


def _check_files(settings: KafkaSettings) -> None:
    """The client would say of a certificate that can not be read only that no broker answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    name, file = "ssl_cafile", settings.ssl_cafile
    try:
        if settings.ssl_cafile is not None:
            context.load_verify_locations(settings.ssl_cafile)
        if settings.ssl_certfile is not None:
            name, file = "ssl_certfile", settings.ssl_certfile
            context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile, password=lambda: "")
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"setting `kafka.{name}`: {file}: no PEM file of what it has to be: {error.reason or error}"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"setting `kafka.{name}`: {file}: {error.strerror or error}") from error


def no_answer(settings: KafkaSettings) -> BrokerUnreachableError:
    if reachable(settings):
        return BrokerUnreachableError(
            f"{settings.bootstrap_servers} (setting `kafka.bootstrap_servers`) does not answer as a Kafka broker within "
            f"{GREETING_TIMEOUT_S:.0f} s"
        )
    # A name may be unknown for a while: that of a container is, while the container is down.
    unknown = unknown_names(settings)
    return BrokerUnreachableError(
        f"no Kafka broker listens at {settings.bootstrap_servers} (setting `kafka.bootstrap_servers`)"
        + (
            f": name not known: {', '.join(unknown)}"
            if unknown
            else "; a local one is started by `imgdiff broker start`"
        )
    )
