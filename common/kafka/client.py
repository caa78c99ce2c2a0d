"""What every client has in common: how it is set up, whether anybody is there, and how its types become ours."""

import socket
from typing import Any

from kafka import TopicPartition
from kafka.errors import AuthorizationError, KafkaConnectionError

from common.kafka.values import ConsumedRecord, Partition
from common.runtime.errors import ConfigurationError
from common.settings import KafkaSettings

REQUEST_TIMEOUT_MS = 10_000
BACKOFF_MAX_MS = 2_000

FETCH_MAX_BYTES = 8 * 1024 * 1024
"""Records are references, so a small fetch holds many."""


def client_config(settings: KafkaSettings) -> dict[str, Any]:
    """What consumer, producer and admin client have in common."""
    config: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers.split(","),
        "security_protocol": settings.security_protocol,
        "reconnect_backoff_max_ms": BACKOFF_MAX_MS,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "bootstrap_timeout_ms": REQUEST_TIMEOUT_MS,
        "ssl_check_hostname": settings.ssl_check_hostname,
    }
    optional: dict[str, Any] = {
        "sasl_mechanism": settings.sasl_mechanism,
        "sasl_plain_username": settings.sasl_plain_username,
        "sasl_plain_password": settings.sasl_plain_password and settings.sasl_plain_password.get_secret_value(),
        "ssl_cafile": settings.ssl_cafile and str(settings.ssl_cafile),
        "ssl_certfile": settings.ssl_certfile and str(settings.ssl_certfile),
        "ssl_keyfile": settings.ssl_keyfile and str(settings.ssl_keyfile),
    }
    return config | {name: value for name, value in optional.items() if value is not None}


def reachable(settings: KafkaSettings) -> bool:
    """Whether anybody listens at one of the bootstrap servers."""
    return any(listens(server) for server in settings.bootstrap_servers.split(","))


def require_listener(settings: KafkaSettings) -> None:
    """Look before a consumer or producer is built: one that finds nobody says so after 10 s, and leaves a thread behind.
    Raises KafkaConnectionError."""
    if not reachable(settings):
        raise KafkaConnectionError(f"nobody listens at {settings.bootstrap_servers}")


def listens(server: str, timeout_s: float = 1.0) -> bool:
    try:
        socket.create_connection(_address(server), timeout_s).close()
    except (OSError, UnicodeError):  # of a label that no name can have
        return False
    return True


def unknown_names(settings: KafkaSettings) -> list[str]:
    """The hosts among the bootstrap servers that no name service knows (now)."""
    unknown = []
    for host, port in map(_address, settings.bootstrap_servers.split(",")):
        try:
            socket.getaddrinfo(host, port)
        except (socket.gaierror, UnicodeError):
            unknown.append(host)
    return unknown


def _address(server: str) -> tuple[str, int]:
    host, _, port = server.strip().rpartition(":")
    return host.strip("[]"), int(port)


def forbidden(
    settings: KafkaSettings, error: AuthorizationError | None = None, what: str | None = None
) -> ConfigurationError:
    """What the access lists of the cluster do not allow, in one line."""
    found = what or f"do this ({'' if error is None else error.message})"
    return ConfigurationError(f"{user_of(settings)} may not {found}; what each part needs is in docs/security.md")


def user_of(settings: KafkaSettings) -> str:
    name = settings.sasl_plain_username
    return "this client" if name is None else f"user {name!r} (setting `kafka.sasl_plain_username`)"


def partition_of(tp: TopicPartition) -> Partition:
    return Partition(tp.topic, tp.partition)


def topic_partition(partition: Partition) -> TopicPartition:
    return TopicPartition(partition.topic, partition.index)


def consumed(partition: Partition, record: Any) -> ConsumedRecord:
    return ConsumedRecord(
        partition=partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=getattr(record.headers, "pairs", ()),  # formats before version 2 have none
        timestamp=(record.timestamp or 0) / 1_000,
    )
