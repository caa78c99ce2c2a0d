"""Captions into the stream: readers for people's files, and the transactions that write each caption exactly once."""
