"""What the client does to a membership, and what we do about it."""

import time

from kafka import KafkaAdminClient

from common.kafka import Admin, GroupConsumer
from common.metrics import WorkerMetrics
from common.runtime.ownership import Assignment, Progress
from common.runtime.poller import Listener
from schemas.counters import OffsetMetadata
from tests.integration.kit import Stream, wait_until
from tests.integration.runtime.test_commit_rules import group, settle


def test_a_join_that_outlasts_its_poll_is_not_forgotten(stream: Stream) -> None:
    with group(stream) as join:
        member = join("only")
        settle(member)
        admin = KafkaAdminClient(bootstrap_servers=stream.broker)
        admin.create_partitions({stream.names.topic("captions"): 5})
        admin.close()
        time.sleep(0.5)
        member.consumer._consumer._client.cluster.request_update()
        # The leader sees the new partition and joins again; polls of no length never wait for the answer.
        for _ in range(50):
            member.consumer.poll(0.0, 10)
            time.sleep(0.01)

        def settled() -> bool:
            member.poll()
            return member.consumer.membership().stable and len(member.listener.owned) == 5

        wait_until("the member is back in its group", settled, 15, 0)


def test_a_member_evicted_in_mid_join_keeps_nothing_of_what_it_owned(stream: Stream) -> None:
    """The client does not tell: it finds its old partitions in the new assignment, and takes them for kept."""
    assignment = Assignment(drain_budget_s=5)
    consumer = GroupConsumer(
        stream.settings.kafka,
        group=stream.names.group("edits"),
        instance="one",
        topic=stream.names.topic("captions"),
        session_timeout_s=6,
        listener=Listener(assignment, WorkerMetrics("edits", "test", "sketch")),
    )

    def owns_all() -> bool:
        consumer.poll(0.05, 10)
        return len(consumer.assignment()) == stream.partitions and not consumer.membership().lost

    try:
        wait_until("it owns all", owns_all, 30, 0)
        for partition in assignment.starting():
            epoch = assignment.start_epoch(partition)
            assert epoch is not None
            assert assignment.started(partition, epoch, Progress(0, OffsetMetadata()))
        consumer.resume(consumer.assignment())
        before = consumer.membership().member_id

        # A rebalance has begun, and while this member's join was on its way its session ran out.
        with Admin(stream.settings.kafka) as admin:
            admin.remove_member(stream.names.group("edits"), "one")
        consumer._consumer._coordinator.rejoining = True
        consumer._consumer._coordinator.request_rejoin()
        stream.produce_captions(["a dog"] * 8)
        wait_until("it is in again", lambda: owns_all() and consumer.membership().member_id != before, 30, 0)

        # Others may have worked on them meanwhile: offset and counters are read again.
        assert len(assignment.starting()) == stream.partitions
        assert set(consumer._consumer.paused()) == set(consumer._consumer.assignment())
    finally:
        consumer.close(1)
