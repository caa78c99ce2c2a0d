"""Apache Kafka's own programs, run in the folder of one broker."""

import base64
import os
import uuid
from collections.abc import Sequence
from pathlib import Path

from common.runtime.errors import ConfigurationError
from ops.broker import process
from ops.broker.jars import KAFKA_VERSION
from ops.broker.properties import NODE_ID, recovery_properties, server_properties

DATA = "data"
LOG = "broker.log"
PROPERTIES = "server.properties"

_LOG_LEVEL = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
_JVM_FLAGS = (
    # Quick to start, and small.
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    # No files in the temporary folder.
    "-XX:-UsePerfData",
    _LOG_LEVEL,
)
_TELL_FENCING = "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.controller.ReplicationControlManager=info"
_FENCING = f"Fencing broker {NODE_ID} "


class Kafka:
    """What runs in `folder`. `mark` is an argument without meaning to Kafka by which its process is known again."""

    def __init__(self, java: Path, jars: Sequence[Path], folder: Path, mark: str) -> None:
        self._java = java
        # Relative, so that the command line stays short and free of this folder's name.
        self._class_path = os.pathsep.join(os.path.relpath(jar, folder) for jar in jars)
        self._folder = folder
        self._mark = mark
        self._log = folder / LOG

    def is_formatted(self) -> bool:
        """`meta.properties` is what a format writes last."""
        return (self._folder / DATA / "meta.properties").exists()

    def was_stopped_in_order(self) -> bool:
        """Kafka leaves this file when it stops, and removes it when it starts."""
        return (self._folder / DATA / ".kafka_cleanshutdown").exists()

    def format(self) -> None:
        """Makes the data folder. Raises ConfigurationError."""
        self._write(recovery_properties(controller_port=1))
        arguments = ["format", "--ignore-formatted", "-c", PROPERTIES, "-t", _cluster_id()]
        done = process.run(self._command("kafka.tools.StorageTool", *arguments), self._folder)
        if done.returncode != 0:
            raise ConfigurationError(self._reason(done.stdout))

    def launch_broker(self, port: int, controller_port: int) -> int:
        """Starts the broker; the process id."""
        self._write(server_properties(port, controller_port))
        return process.launch(self._command("kafka.Kafka", PROPERTIES, flags=["-Xmx512m"]), self._folder, self._log)

    def launch_recovery(self, controller_port: int) -> int:
        """Starts what recovery_properties says; the process id."""
        self._write(recovery_properties(controller_port))
        return process.launch(self._command("kafka.Kafka", PROPERTIES, flags=[_TELL_FENCING]), self._folder, self._log)

    def has_recovered(self) -> bool:
        return _FENCING in self._printed()

    def found_port_taken(self) -> bool:
        return "Address already in use" in self._printed()

    def why(self) -> str:
        """Why it is not running: one line from what it printed."""
        return self._reason(self._printed())

    def _write(self, properties: str) -> None:
        (self._folder / PROPERTIES).write_text(properties)

    def _command(self, main: str, *arguments: str, flags: Sequence[str] = ()) -> list[str]:
        java = [str(self._java), *_JVM_FLAGS, *flags, self._mark]
        return [*java, "-cp", self._class_path, main, *arguments]

    def _printed(self) -> str:
        return self._log.read_text(errors="replace")

    def _reason(self, output: str) -> str:
        if "No space left on device" in output:
            return f"disk of {self._folder}: no space left, Apache Kafka {KAFKA_VERSION} did not start"
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        causes = [line for line in lines if "Exception" in line or "Error" in line or "ERROR" in line]
        detail = (causes or lines or ["it printed nothing"])[-1]
        return f"Apache Kafka {KAFKA_VERSION} did not start: {detail} ({self._log})"


def _cluster_id() -> str:
    """22 characters of URL-safe base64, as Kafka makes them: never with a dash first, which tools take for an option."""
    text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return text if not text.startswith("-") else f"A{text[1:]}"
