"""The settings of the one node."""

from collections.abc import Mapping

from ops.broker.network import HOST

NODE_ID = 1

MAX_MESSAGE_BYTES = 6 * 1024 * 1024
"""Above the largest `max.message.bytes` of a topic, so that the topics decide."""

_NODE = {
    "node.id": str(NODE_ID),
    "controller.listener.names": "CONTROLLER",
    # Relative to the folder in which the process runs: the folder may be moved, and may have any name.
    "log.dirs": "data",
}

_BROKER = {
    "process.roles": "broker,controller",
    "auto.create.topics.enable": "false",
    "message.max.bytes": str(MAX_MESSAGE_BYTES),
    "replica.fetch.max.bytes": str(MAX_MESSAGE_BYTES),
    # There is one replica of everything, and few clients.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # Progress must outlive a holiday: a year.
    "offsets.retention.minutes": "525600",
    # The lowest session timeout that the runtime's settings allow.
    "group.min.session.timeout.ms": "6000",
    # A node that is late with a sign of life, such as a suspended laptop, is taken for dead. Nobody could stand in for
    # it here, and its transactions suffer (see recovery_properties): an hour.
    "broker.session.timeout.ms": "3600000",
    # Waiting for more members, and holding back what was deleted or left open, serves large clusters only.
    "group.initial.rebalance.delay.ms": "0",
    "log.segment.delete.delay.ms": "1000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # A quarter of the heap otherwise.
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
}


_RECOVERY = {
    "process.roles": "controller",
    "broker.heartbeat.interval.ms": "250",
    "broker.session.timeout.ms": "500",
}


def server_properties(port: int, controller_port: int) -> str:
    """The text of server.properties. Nothing listens beyond this machine."""
    listeners = f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}"
    return _text({**_NODE, **_BROKER, **_controller(controller_port), "listeners": listeners})


def recovery_properties(controller_port: int) -> str:
    """The properties of a run that declares the broker dead which has crashed, and does nothing else.

    A start after a crash would not wait for that: it takes office again as coordinator of the transactions while it
    still counts as its former self. When that expires, its partitions are without a leader for a moment, and the
    coordinator takes those for deleted, skips them, and so loses the commit markers that the crash had left to be
    written. Whoever reads committed records would wait for them for ever (seen in one of ten crashes of 4.3.1).
    """
    return _text({**_NODE, **_RECOVERY, **_controller(controller_port)})


def _controller(port: int) -> dict[str, str]:
    return {"listeners": f"CONTROLLER://{HOST}:{port}", "controller.quorum.voters": f"{NODE_ID}@{HOST}:{port}"}


def _text(properties: Mapping[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in properties.items())
