"""A log whose bytes are not what was written any more, as a failing disk leaves it."""

from pathlib import Path

import pytest

from common.kafka import Partition
from tests.integration.kit import Stream, wait_until

PROBE = "tests.integration.probe"


def damage(folder: Path, partition: Partition, text: str) -> None:
    """Change bytes in the middle of the batch that has this text in it."""
    [log] = folder.glob(f"own/**/{partition.topic}-{partition.index}/*.log")
    at = log.read_bytes().index(text.encode())
    with log.open("r+b") as file:
        file.seek(at)
        file.write(text.swapcase().encode())


@pytest.mark.long
@pytest.mark.integration
def test_a_damaged_batch_stops_its_partition_and_no_other(own: Stream) -> None:
    """What lies before it is worked on, too."""
    own.produce_captions(["a dog"] * 8)
    own.produce_captions(["a cat"] * 8, start=8)
    own.produce_captions(["a dog"] * 8, start=16)
    broken = Partition(own.names.topic("captions"), 0)
    damage(own.folder, broken, "a cat")
    worker = own.start(PROBE, IMGDIFF_EDITS__BATCH_SIZE="1", PROBE_DELAY_S="0.01")

    wait_until("the others are done", lambda: own.counters("edits").consumed == 3 * 6 + 2)
    assert f"{broken.topic}/0 can not be read from offset 3 on" in worker.http("/readyz")[1]
    own.produce_captions(["a dog"] * 8, start=24)
    wait_until("the others go on", lambda: own.counters("edits").consumed == 3 * 8 + 2)
    assert len([line for line in worker.lines("ERROR") if "can not be read" in line]) == 1
    assert worker.lines("WARNING") == []
    assert worker.stop() == 0
