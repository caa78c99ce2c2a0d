"""A stage's topics on a real cluster, while somebody gives them more partitions."""

import pytest
from kafka import KafkaAdminClient

from common.kafka import Partition
from common.runtime.cluster import Cluster
from common.runtime.errors import ConfigurationError
from schemas.topics import EDITS
from tests.integration.kit import Stream


def test_partitions_have_to_be_added_to_all_topics(stream: Stream) -> None:
    captions, *others = (stream.names.topic(name) for name in ("captions", "edits", "edits.rejected", "edits.failed"))
    new = Partition(captions, stream.partitions)
    cluster = Cluster(stream.settings, stream.names, EDITS)
    cluster.check()
    cluster.check_partition(Partition(captions, 0))

    admin = KafkaAdminClient(bootstrap_servers=stream.broker)
    admin.create_partitions({captions: stream.partitions + 1})
    with pytest.raises(ConfigurationError, match=f"{captions} has 5: all topics of a stream need the same number"):
        cluster.check_partition(new)
    cluster.check_partition(Partition(captions, 0))

    admin.create_partitions(dict.fromkeys(others, stream.partitions + 1))
    admin.close()
    cluster.check_partition(new)
