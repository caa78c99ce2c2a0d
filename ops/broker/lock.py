"""Writes the list of jars anew, for a new version of Kafka: `python -m ops.broker.lock > ops/broker/jars.txt`."""

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path

from jgo.maven import MavenContext
from jgo.parse import Coordinate

from ops.broker.jars import KAFKA_VERSION

COORDINATES = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.slf4j:slf4j-simple:1.7.36")
"""Kafka, and a logger that writes to standard error. A log4j coordinate here would, by its bill of materials, make jgo
resolve an older kafka-clients (kafka.md, top)."""


def main() -> None:
    """Resolve, download and print `group:artifact:version size sha256`, one line per jar."""
    with tempfile.TemporaryDirectory() as folder:
        context = MavenContext(repo_cache=Path(folder), local_repos=[])
        inputs, transitive = context.resolver.resolve(
            [context.create_dependency(replace(Coordinate.parse(name), scope="compile")) for name in COORDINATES]
        )
        for dependency in [*inputs, *(d for d in transitive if d.scope in {"compile", "runtime"})]:
            artifact = dependency.artifact
            data = artifact.resolve().read_bytes()
            name = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
            print(name, len(data), hashlib.sha256(data).hexdigest())


if __name__ == "__main__":
    main()
