"""What flows through the stream: record types, topics, ids, headers and the codec. Imports nothing of this project."""
