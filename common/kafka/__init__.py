"""The only package that knows kafka-python. Everything else speaks the value types of `values.py`.

What the client does that its documentation does not say is in kafka.md; the rules that follow from it stand where they
are kept: no deserialisers (an exception from one makes the next poll spin for ever), no plain commits (they race
transactions), no reuse of a producer after a failed transaction (it would send the refused offsets again).
"""

from kafka.errors import CommitFailedError, FencedInstanceIdError, KafkaError, ProducerFencedError
from kafka.record import memory_records

from common.kafka.admin import Admin, TopicConfig
from common.kafka.batches import Batch
from common.kafka.client import reachable, require_listener
from common.kafka.consumer import GroupConsumer, RebalanceListener, UnreadableError
from common.kafka.greeting import greet
from common.kafka.producer import TransactionalProducer
from common.kafka.reading import read_to_end, read_together
from common.kafka.values import EVERYTHING, Committed, ConsumedRecord, Fetched, Membership, Message, Partition, Share

__all__ = [
    "EVERYTHING",
    "Admin",
    "CommitFailedError",
    "Committed",
    "ConsumedRecord",
    "FencedInstanceIdError",
    "Fetched",
    "GroupConsumer",
    "KafkaError",
    "Membership",
    "Message",
    "Partition",
    "ProducerFencedError",
    "RebalanceListener",
    "Share",
    "TopicConfig",
    "TransactionalProducer",
    "UnreadableError",
    "greet",
    "reachable",
    "read_to_end",
    "read_together",
    "require_listener",
]

# The client has no other way to be given one.
memory_records.DefaultRecordBatch = Batch
