"""What the client does to fetched records, and what we do about it."""

from common.kafka import Partition
from tests.integration.kit import Stream, wait_until
from tests.integration.runtime.test_commit_rules import group, settle


def test_a_partition_that_is_paused_in_the_middle_of_a_fetch_goes_on_when_it_is_resumed(stream: Stream) -> None:
    stream.produce_captions(["a dog"] * 40)
    first, *others = (Partition(stream.names.topic("captions"), index) for index in range(stream.partitions))
    with group(stream) as join:
        member = join("only")
        settle(member)
        consumer = member.consumer
        read: dict[Partition, int] = {}

        def poll(most: int) -> None:
            for fetched in consumer.poll(0.1, most):
                read[fetched.partition] = read.get(fetched.partition, 0) + len(fetched.records)

        consumer.pause(others)
        consumer.resume([first])
        wait_until("one record of the first", lambda: poll(1) or read.get(first) == 1, 20, 0)
        consumer.pause([first])
        consumer.resume(others)
        wait_until("all of the others", lambda: poll(100) or all(read.get(p) == 10 for p in others), 20, 0)
        consumer.resume([first])
        wait_until("the rest of the first", lambda: poll(100) or read[first] == 10, 20, 0)
