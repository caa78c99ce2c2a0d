"""What every worker stands on: the runtime, the Kafka client, the object store, models, metrics and settings."""
