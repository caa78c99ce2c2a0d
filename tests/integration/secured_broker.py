"""A real broker that asks for certificates, passwords and rights: listeners of every kind, its own authority, its users.

Who comes over PLAINTEXT or without logging in is a super user; who logs in may do what the access lists say, else nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from unittest.mock import patch

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
    UserScramCredentialUpsertion,
)

from ops.broker import network
from ops.broker.local import LocalBroker
from ops.broker.properties import server_properties
from tests.conftest import JARS, stopped_at_the_end

HOST = network.HOST

PLAIN_USER = "plain-user"
PLAIN_PASSWORD = "plain-pass-4711"
SCRAM_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")


CERTIFIED_USER = "CN=stream,OU=tests,O=imgdiff"
"""Who comes with the client's certificate is known by its subject, written as RFC 2253 says."""


class Listener(StrEnum):
    """The names of the listeners, beside those of the broker itself."""

    SSL = "SSL"
    MUTUAL = "MUTUAL"
    """TLS that asks the client for a certificate."""
    EXPIRED = "EXPIRED"
    """TLS with a certificate of yesterday."""
    ELSEWHERE = "ELSEWHERE"
    """TLS with a certificate for another host."""
    SASL_SSL = "SASL_SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"


_PROTOCOLS = {Listener.MUTUAL: "SSL", Listener.EXPIRED: "SSL", Listener.ELSEWHERE: "SSL"}


@dataclass(frozen=True, slots=True)
class Right:
    """What an access list allows. Names that end in `*` are prefixes."""

    operation: ACLOperation
    kind: ResourceType
    name: str

    def acl(self, user: str) -> ACL:
        prefixed = self.name.endswith("*") and len(self.name) > 1
        pattern = ResourcePattern(
            self.kind,
            self.name.removesuffix("*") if prefixed else self.name,
            ACLResourcePatternType.PREFIXED if prefixed else ACLResourcePatternType.LITERAL,
        )
        return ACL(f"User:{user}", "*", self.operation, ACLPermissionType.ALLOW, pattern)


@dataclass(frozen=True)
class SecuredBroker:
    """A running broker. `plaintext` is where super users connect."""

    plaintext: str
    ports: dict[Listener, int]
    authority: Path
    """PEM file of the authority that signed every certificate."""
    stranger: Path
    """PEM file of another one."""
    client_certificate: Path
    client_key: Path

    def address(self, listener: Listener) -> str:
        return f"{HOST}:{self.ports[listener]}"

    def add_user(self, user: str, password: str) -> None:
        """A user of both SCRAM mechanisms."""
        with KafkaAdminClient(bootstrap_servers=self.plaintext) as admin:
            for mechanism in SCRAM_MECHANISMS:
                refused = admin.alter_user_scram_credentials([UserScramCredentialUpsertion(user, mechanism, password)])
                assert refused == {user: None}

    def allow(self, user: str, rights: Sequence[Right]) -> None:
        with KafkaAdminClient(bootstrap_servers=self.plaintext) as admin:
            assert not admin.create_acls([right.acl(user) for right in rights])["failed"]

    def forbid(self, user: str, rights: Sequence[Right]) -> None:
        """Take back what was allowed."""
        with KafkaAdminClient(bootstrap_servers=self.plaintext) as admin:
            for deleted in admin.delete_acls([right.acl(user) for right in rights]):
                assert len(deleted[1]) == 1

    def tls(self, listener: Listener = Listener.SSL) -> dict[str, str]:
        """The variables of a client that trusts the authority."""
        return {
            "IMGDIFF_KAFKA__BOOTSTRAP_SERVERS": self.address(listener),
            "IMGDIFF_KAFKA__SECURITY_PROTOCOL": "SSL",
            "IMGDIFF_KAFKA__SSL_CAFILE": str(self.authority),
        }

    def login(self, user: str, password: str, mechanism: str = "SCRAM-SHA-512") -> dict[str, str]:
        """The variables of a client that logs in over TLS."""
        return self.tls(Listener.SASL_SSL) | {
            "IMGDIFF_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "IMGDIFF_KAFKA__SASL_MECHANISM": mechanism,
            "IMGDIFF_KAFKA__SASL_PLAIN_USERNAME": user,
            "IMGDIFF_KAFKA__SASL_PLAIN_PASSWORD": password,
        }


@contextmanager
def secured_broker(home: Path) -> Iterator[SecuredBroker]:
    """A fresh broker with its data and its certificates in `home`."""
    authority, stranger = trustme.CA(), trustme.CA()
    certificates = home / "certificates"
    certificates.mkdir(parents=True)
    authority.cert_pem.write_to_path(certificates / "authority.pem")
    stranger.cert_pem.write_to_path(certificates / "stranger.pem")
    yesterday = datetime.now(UTC) - timedelta(days=1)
    broker_store = _store(certificates / "broker.pem", authority.issue_cert(HOST))
    _store(certificates / "elsewhere.pem", authority.issue_cert("kafka.example.org"))
    _store(
        certificates / "expired.pem",
        authority.issue_cert(HOST, not_before=yesterday - timedelta(days=9), not_after=yesterday),
    )
    client = authority.issue_cert(
        "client@example.org",
        common_name="stream",
        organization_name="imgdiff",
        organization_unit_name="tests",
    )
    client.cert_chain_pems[0].write_to_path(certificates / "client.pem")
    client.private_key_pem.write_to_path(certificates / "client.key")
    ports = {listener: network.any_free() for listener in Listener}

    def properties(port: int, controller_port: int) -> str:
        own = server_properties(port, controller_port)
        listeners = next(line for line in own.splitlines() if line.startswith("listeners="))
        added = ",".join(f"{listener}://{HOST}:{number}" for listener, number in ports.items())
        # The last of two lines for one key holds.
        return own + f"{listeners},{added}\n" + _security(certificates, broker_store)

    with stopped_at_the_end(home), patch("ops.broker.kafka.server_properties", properties):
        plaintext = LocalBroker(home, jars=JARS).start(port=0).bootstrap_servers
        assert plaintext is not None
        yield SecuredBroker(
            plaintext,
            ports,
            certificates / "authority.pem",
            certificates / "stranger.pem",
            certificates / "client.pem",
            certificates / "client.key",
        )


def _security(certificates: Path, broker_store: Path) -> str:
    protocols = {"CONTROLLER": "PLAINTEXT", "PLAINTEXT": "PLAINTEXT"} | {
        listener: _PROTOCOLS.get(listener, listener) for listener in Listener
    }
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule"
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule"
    lines = {
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "inter.broker.listener.name": "PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": broker_store,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": certificates / "authority.pem",
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.expired.ssl.keystore.location": certificates / "expired.pem",
        "listener.name.expired.ssl.keystore.type": "PEM",
        "listener.name.elsewhere.ssl.keystore.location": certificates / "elsewhere.pem",
        "listener.name.elsewhere.ssl.keystore.type": "PEM",
        "sasl.enabled.mechanisms": ",".join(["PLAIN", *SCRAM_MECHANISMS]),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    for listener in ("sasl_ssl", "sasl_plaintext"):
        start = f"listener.name.{listener}"
        lines[f"{start}.plain.sasl.jaas.config"] = f'{plain} required user_{PLAIN_USER}="{PLAIN_PASSWORD}";'
        for mechanism in SCRAM_MECHANISMS:
            lines[f"{start}.{mechanism.lower()}.sasl.jaas.config"] = f"{scram} required;"
    return "".join(f"{key}={value}\n" for key, value in lines.items())


def _store(path: Path, certificate: trustme.LeafCert) -> Path:
    """Key and chain in one file, the key as PKCS#8: Kafka reads no other."""
    key = load_pem_private_key(certificate.private_key_pem.bytes(), password=None)
    chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + chain)
    return path
