"""The worker runtime: consume, transform, produce as one Kafka transaction per batch. Knows no stage and no model."""
