"""The topics of a stream on a cluster: created with explicit settings, never by accident, and checked for drift."""

from collections.abc import Sequence
from dataclasses import dataclass

from common.kafka import Admin, TopicConfig
from common.settings import CommonSettings, TopicSettings
from schemas.topics import ROUTES, SEGMENT_HOURS, TOPICS, Names, Retention, Topic

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Drift:
    """A setting of a topic that is not what it should be; `found` is None where the topic does not exist."""

    topic: str
    setting: str
    found: str | None
    expected: str


def wanted_topics(settings: CommonSettings) -> list[TopicConfig]:
    """Every topic of the stream as it should be."""
    names = Names(settings.prefix)
    return [
        TopicConfig(
            name=names.topic(topic.name),
            partitions=1 if topic.retention is Retention.COMPACTED else settings.topics.partitions,
            replication_factor=settings.topics.replication_factor,
            configs=_configs(topic, settings.topics),
        )
        for topic in TOPICS
    ]


def create_topics(settings: CommonSettings) -> list[str]:
    """Create those that are missing, and return their names. Existing ones are left as they are."""
    wanted = wanted_topics(settings)
    with Admin(settings.kafka) as admin:
        existing = admin.partition_counts()
        missing = [topic for topic in wanted if topic.name not in existing]
        admin.create_topics(missing)
    return [topic.name for topic in missing]


def find_drift(settings: CommonSettings) -> list[Drift]:
    """Where the cluster differs from what the settings say."""
    wanted = wanted_topics(settings)
    with Admin(settings.kafka) as admin:
        found = admin.topics({topic.name for topic in wanted}, {key for topic in wanted for key in topic.configs})
    return [drift for topic in wanted for drift in _compare(topic, found.get(topic.name))]


def delete_stream(settings: CommonSettings) -> None:
    """Delete the stream's topics and groups with all that is in them. Only for a broker of one's own."""
    names = Names(settings.prefix)
    with Admin(settings.kafka) as admin:
        replays = [group for group in admin.groups() if names.is_replay_group(group)]
        admin.delete_groups([*(names.group(route.worker) for route in ROUTES), *replays])
        existing = admin.partition_counts()
        admin.delete_topics([topic.name for topic in wanted_topics(settings) if topic.name in existing])


def _compare(wanted: TopicConfig, found: TopicConfig | None) -> Sequence[Drift]:
    if found is None:
        return [Drift(wanted.name, "topic", None, "exists")]
    values = [
        ("partitions", str(found.partitions), str(wanted.partitions)),
        ("replication factor", str(found.replication_factor), str(wanted.replication_factor)),
        *((key, found.configs.get(key), value) for key, value in wanted.configs.items()),
    ]
    return [Drift(wanted.name, setting, is_, should) for setting, is_, should in values if is_ != should]


def _configs(topic: Topic, settings: TopicSettings) -> dict[str, str]:
    configs = {
        "max.message.bytes": str(topic.max_message_bytes),
        "compression.type": "producer",
        "min.insync.replicas": "2" if settings.replication_factor >= 3 else "1",
        # Kept by the time of writing: a caption that a producer dated back must not expire before it is read.
        "message.timestamp.type": "LogAppendTime",
    }
    match topic.retention:
        case Retention.RECORDS:
            return configs | _kept(settings.retention_hours)
        case Retention.DEAD_LETTERS:
            return configs | _kept(settings.dead_letter_retention_hours)
        case Retention.COMPACTED:
            return configs | {"cleanup.policy": "compact"}


def _kept(hours: int) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(hours * HOUR_MS),
        # A week otherwise: records would outlive the offsets of a group that is away.
        "segment.ms": str(min(SEGMENT_HOURS, hours) * HOUR_MS),
    }
