"""What the client does to a membership, and what we do about it."""

import time

from kafka import KafkaAdminClient

from tests.integration.kit import Stream, wait_until
from tests.integration.runtime.test_commit_rules import group, settle


def test_a_join_that_outlasts_its_poll_is_not_forgotten(stream: Stream) -> None:
    with group(stream) as join:
        member = join("only")
        settle(member)
        admin = KafkaAdminClient(bootstrap_servers=stream.broker)
        admin.create_partitions({stream.names.topic("captions"): 5})
        admin.close()
        # The leader sees the new partition and joins again; polls of no length never wait for the answer.
        time.sleep(0.5)
        member.consumer._consumer._client.cluster.request_update()

        def settled() -> bool:
            member.consumer.poll(0.0, 10)
            time.sleep(0.01)
            return member.consumer.membership().stable and len(member.listener.owned) == 5

        wait_until("the member is back in its group", settled, 15, 0)
