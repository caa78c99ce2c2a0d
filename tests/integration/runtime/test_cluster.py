"""A stage's topics on a real cluster, while somebody gives them more partitions."""

from collections.abc import Iterator

import pytest
from kafka import KafkaAdminClient

from common.kafka import Message, Partition, TransactionalProducer
from common.runtime.cluster import Cluster
from common.runtime.errors import ConfigurationError, TransientError
from ops.topics import find_drift
from schemas.topics import EDITS
from tests.integration.kit import Stream, wait_until

TOPICS = ("captions", "edits", "edits.rejected", "edits.failed")


@pytest.fixture
def cluster(stream: Stream) -> Cluster:
    """As a worker has it that has started."""
    made = Cluster(stream.settings, stream.names, EDITS)
    made.check()
    return made


@pytest.fixture
def admin(stream: Stream) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(bootstrap_servers=stream.broker)
    yield client
    client.close()


@pytest.fixture
def new(stream: Stream) -> Partition:
    """The one that each topic is to get."""
    return Partition(stream.names.topic("captions"), stream.partitions)


def grow(admin: KafkaAdminClient, stream: Stream, *topics: str) -> None:
    admin.create_partitions({stream.names.topic(topic): stream.partitions + 1 for topic in topics})


def usable(cluster: Cluster, partition: Partition, epoch: int = 1) -> bool:
    try:
        cluster.check_partition(partition, epoch)
    except TransientError:
        return False
    return True


def test_a_partition_is_used_once_all_topics_have_it(
    stream: Stream, cluster: Cluster, admin: KafkaAdminClient, new: Partition
) -> None:
    """People add them to one topic after the other, and a broker may answer before it has heard of them."""
    with pytest.raises(TransientError, match="the group gave out number 4"):
        cluster.check_partition(new, 1)
    grow(admin, stream, TOPICS[0])

    def told_apart() -> bool:
        with pytest.raises(TransientError) as caught:
            cluster.check_partition(new, 1)
        return f"{new.topic} has 5: all topics of a stream need the same number" in str(caught.value)

    wait_until("the broker knows of it", told_apart, 15)
    assert usable(cluster, Partition(new.topic, 0))
    grow(admin, stream, *TOPICS[1:])
    wait_until("all topics have it", lambda: usable(cluster, new), 15)


def test_a_partition_that_other_topics_go_on_lacking_is_an_error(
    stream: Stream, cluster: Cluster, admin: KafkaAdminClient, new: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.runtime.cluster.GROWTH_PATIENCE_S", 3.0)
    grow(admin, stream, TOPICS[0])
    with pytest.raises(ConfigurationError, match=f"{new.topic} has 5: all topics of a stream need the same number"):
        wait_until("an end of patience", lambda: usable(cluster, new), 15)
    assert usable(cluster, Partition(new.topic, 0))
    assert not usable(cluster, new, epoch=2), "given anew after it went elsewhere: waited for anew"


def test_topics_are_made_as_the_settings_say(stream: Stream) -> None:
    assert find_drift(stream.settings) == []


def test_outputs_say_what_they_were_made_from(stream: Stream) -> None:
    """What others wrote, and what was never committed, is nobody's work."""
    first, second, third, fourth = (Partition(stream.names.topic("captions"), index) for index in range(4))
    edits, failed = stream.names.topic("edits"), stream.names.topic("edits.failed")

    def made_of(topic: str, header: str, source: str, partition: int) -> Message:
        return Message(topic, b"k", b"v", [(header, source.encode())], partition)

    stream.produce(
        [
            made_of(edits, "source", f"{first.topic}/0/7", 0),
            made_of(failed, "dlq.source", f"{first.topic}/1/7/1.000", 1),
            made_of(edits, "source", "elsewhere/2/7", 2),
        ]
    )
    producer = TransactionalProducer(stream.settings.kafka, f"{stream.prefix}.gone", 30)
    producer.begin()
    producer.send(made_of(edits, "source", f"{first.topic}/3/7", 3))
    producer.abort()
    producer.close()
    cluster = Cluster(stream.settings, stream.names, EDITS)
    cluster.check()
    assert [cluster.worked_on(each) for each in (first, second, third, fourth)] == [True, True, False, False]
