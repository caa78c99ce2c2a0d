"""What operators' commands and workers ask of a cluster, and have it do."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar, cast

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType, MemberToRemove, OffsetSpec
from kafka.errors import (
    AuthorizationError,
    GroupAuthorizationFailedError,
    InvalidConfigurationError,
    InvalidPartitionsError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NoError,
    PolicyViolationError,
    RetriableError,
    TopicAuthorizationFailedError,
    for_code,
)
from kafka.protocol.consumer import IsolationLevel
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from common.kafka.client import REQUEST_TIMEOUT_MS, client_config, forbidden, partition_of, topic_partition
from common.kafka.greeting import greet, no_answer
from common.kafka.values import Committed, Partition
from common.runtime.errors import ConfigurationError
from common.settings import KafkaSettings

WRONG_TOPICS = (InvalidConfigurationError, InvalidPartitionsError, InvalidTopicError, PolicyViolationError)
"""How a cluster refuses a topic for what it should be like: it would do so again."""

MOST_SAID_CHARS = 300
"""How much of a cluster's own words is told."""

AdminMethod = TypeVar("AdminMethod", bound=Callable[..., Any])


def _told_of_rights(method: AdminMethod) -> AdminMethod:
    """What the access lists do not allow is a ConfigurationError."""

    @wraps(method)
    def guarded(admin: "Admin", *arguments: Any, **named: Any) -> Any:
        try:
            return method(admin, *arguments, **named)
        except AuthorizationError as error:
            raise forbidden(admin.settings, error) from error

    return cast(AdminMethod, guarded)


def _again_while_settling(method: AdminMethod) -> AdminMethod:
    """A coordinator that is still loading, or being elected, answers with an error that passes by itself."""
    again = retry(
        retry=retry_if_exception_type(RetriableError),
        stop=stop_after_delay(REQUEST_TIMEOUT_MS / 1_000),
        wait=wait_fixed(0.2),
        reraise=True,
    )
    return _told_of_rights(cast(AdminMethod, again(method)))


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """A topic as it is, or as it should be, on the cluster."""

    name: str
    partitions: int
    replication_factor: int
    configs: Mapping[str, str]


class Admin:
    """What operators' commands and workers ask of the cluster. Close it after use (it is a context manager)."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Raises ConfigurationError naming the setting that the cluster refuses, BrokerUnreachableError where nobody is."""
        greet(settings)
        self.settings = settings
        try:
            self._admin = KafkaAdminClient(client_id="imgdiff-admin", **client_config(settings))
        except (KafkaTimeoutError, KafkaConnectionError) as error:
            raise no_answer(settings) from error

    def __enter__(self) -> "Admin":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._admin.close()

    @_again_while_settling
    def require_rights(self, topics: Mapping[str, str], group: str) -> None:
        """Raises ConfigurationError unless this user may do with each topic what is given for it (READ or WRITE), and read
        in the group. A cluster without access lists allows everything."""
        missing = []
        for topic in self._describe_topics(sorted(topics)):
            operation, allowed = topics[topic["name"]], topic["authorized_operations"]
            unseen = topic["error_code"] == TopicAuthorizationFailedError.errno
            if unseen or (allowed is not None and operation not in allowed):
                missing.append(f"{operation} topic {topic['name']}")
        try:
            described = self._admin.describe_groups([group])[group]["authorized_operations"]
            readable = described is None or "READ" in described
        except GroupAuthorizationFailedError:
            readable = False
        if not readable:
            missing.append(f"READ group {group}")
        if missing:
            raise forbidden(self.settings, what=", ".join(missing))

    def partition_counts(self, needed: Collection[str] = ()) -> dict[str, int]:
        """All topics of the cluster with their number of partitions.

        Raises ConfigurationError where one that is needed may not be seen, which else looks as if it did not exist.
        """
        counts = {topic["name"]: len(topic["partitions"]) for topic in self._describe_topics(None)}
        unseen = sorted(set(needed) - set(counts))
        hidden = [
            f"DESCRIBE topic {topic['name']}"
            for topic in (self._describe_topics(unseen) if unseen else ())
            if topic["error_code"] == TopicAuthorizationFailedError.errno
        ]
        if hidden:
            raise forbidden(self.settings, what=", ".join(hidden))
        return counts

    @_again_while_settling
    def topics(self, names: Collection[str], config_names: Collection[str]) -> dict[str, TopicConfig]:
        """Those of `names` that exist, with the values of these settings."""
        existing = [topic for topic in self._describe_topics(None) if topic["name"] in names]
        if not existing:
            return {}
        resources = [
            ConfigResource(ConfigResourceType.TOPIC, topic["name"], configs=dict.fromkeys(config_names))
            for topic in existing
        ]
        described = self._admin.describe_configs(resources, config_filter="all")
        by_topic = next(iter(described.values()))
        return {
            topic["name"]: TopicConfig(
                name=topic["name"],
                partitions=len(topic["partitions"]),
                replication_factor=len(topic["partitions"][0]["replica_nodes"]),
                configs={
                    key: str(data["value"]) for key, data in by_topic[topic["name"]].items() if key in config_names
                },
            )
            for topic in existing
        }

    @_told_of_rights
    def create_topics(self, topics: Sequence[TopicConfig]) -> None:
        """Raises ConfigurationError naming the topic that the cluster refuses and why, KafkaError where one exists already."""
        if not topics:
            return
        answer = self._admin.create_topics(
            {
                topic.name: {
                    "num_partitions": topic.partitions,
                    "replication_factor": topic.replication_factor,
                    "configs": dict(topic.configs),
                }
                for topic in topics
            },
            timeout_ms=30_000,
            raise_errors=False,  # as an error of the client it would be the whole request and its answer
        )
        factors = {topic.name: topic.replication_factor for topic in topics}
        for created in answer["topics"]:
            name, error = created["name"], for_code(created["error_code"])
            if error is not NoError:
                raise self._refused(name, factors[name], error, created["error_message"] or error.description)
        self._admin.wait_for_topics(list(factors))

    @_told_of_rights
    def delete_topics(self, names: Sequence[str]) -> None:
        """Delete topics and all that is in them."""
        if names:
            self._admin.delete_topics(list(names), timeout_ms=30_000)

    @_again_while_settling
    def groups(self) -> list[str]:
        """All consumer groups of the cluster, those among them that hold nothing but offsets."""
        return [group["group_id"] for group in self._admin.list_groups()]

    @_again_while_settling
    def delete_groups(self, groups: Sequence[str]) -> None:
        """Delete groups without members, with their offsets; groups that do not exist are left out."""
        known = {group for group in groups if self.group_offsets([group])[group]}
        if known:
            self._admin.delete_groups(sorted(known))

    @_again_while_settling
    def group_offsets(self, groups: Sequence[str]) -> dict[str, dict[Partition, Committed]]:
        """The committed offsets of each group with their metadata, in one request."""
        found = self._admin.list_group_offsets(dict.fromkeys(groups))
        return {
            group: {
                partition_of(tp): Committed(committed.offset, committed.metadata or "")
                for tp, committed in found.get(group, {}).items()
                if committed.offset >= 0
            }
            for group in groups
        }

    @_again_while_settling
    def member_counts(self, groups: Sequence[str]) -> dict[str, int]:
        """The number of members of each group; 0 for a group that does not exist."""
        described = self._admin.describe_groups(list(groups))
        return {group: len(described.get(group, {}).get("members") or []) for group in groups}

    @_again_while_settling
    def end_offsets(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """The last stable offset of each: what a reader of committed records can reach."""
        return self._list_offsets(partitions, OffsetSpec.LATEST)

    @_again_while_settling
    def log_ends(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """The end of each log, what belongs to open transactions included."""
        return self._list_offsets(partitions, OffsetSpec.LATEST, IsolationLevel.READ_UNCOMMITTED)

    @_again_while_settling
    def log_starts(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """The first offset that each log still has."""
        return self._list_offsets(partitions, OffsetSpec.EARLIEST)

    @_again_while_settling
    def delete_records(self, before: Mapping[Partition, int]) -> None:
        """Delete what lies before these offsets, for good."""
        if before:
            self._admin.delete_records({topic_partition(partition): offset for partition, offset in before.items()})

    @_again_while_settling
    def remove_member(self, group: str, instance: str) -> None:
        """End a static membership at once, so that nobody waits for its session to run out."""
        self._admin.remove_group_members(group, [MemberToRemove(group_instance_id=instance, reason="worker left")])

    @_again_while_settling
    def cluster_id(self) -> str:
        """What the cluster calls itself."""
        return str(self._admin.describe_cluster()["cluster_id"])

    def broker_config(self, name: str) -> str | None:
        """A setting of the broker that answers, or None where it may not be read."""
        try:
            nodes = self._admin.describe_cluster()["brokers"]
            node = str(nodes[0]["broker_id"])
            described = self._admin.describe_configs(
                [ConfigResource(ConfigResourceType.BROKER, node, configs={name: None})], config_filter="all"
            )
        except KafkaError:
            return None
        values: dict[str, Any] = next(iter(described.values())).get(node, {})
        return str(values[name]["value"]) if name in values else None

    def _refused(self, topic: str, replication_factor: int, error: type[KafkaError], said: str) -> Exception:
        """Why a topic was not created, in one line."""
        if issubclass(error, AuthorizationError):
            return forbidden(self.settings, what=f"create topic {topic} ({error.message})")
        if issubclass(error, InvalidReplicationFactorError):
            count = len(self._admin.describe_cluster()["brokers"])
            return ConfigurationError(
                f"setting `topics.replication_factor`: found {replication_factor}, the cluster has {count} "
                f"broker{'s' if count != 1 else ''}"
            )
        problem = f"topic {topic} was not created: {error.message}: {said[:MOST_SAID_CHARS]}"
        return ConfigurationError(problem) if issubclass(error, WRONG_TOPICS) else error(problem)

    def _describe_topics(self, names: Sequence[str] | None) -> list[dict[str, Any]]:
        described: list[dict[str, Any]] = self._admin.describe_topics(names)
        return described

    def _list_offsets(
        self,
        partitions: Collection[Partition],
        spec: OffsetSpec,
        isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> dict[Partition, int]:
        if not partitions:
            return {}
        found = self._admin.list_partition_offsets(
            {topic_partition(partition): spec for partition in partitions}, isolation_level=isolation
        )
        return {partition_of(tp): offset.offset for tp, offset in found.items()}
