"""Dead letters: found, read, and shown. Bytes from a topic are untrusted."""
