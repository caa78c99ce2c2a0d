"""A single-node Apache Kafka on this machine, from packages alone."""
