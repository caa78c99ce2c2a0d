"""What operators do with the dataset that the sink writes: count it, describe it."""
