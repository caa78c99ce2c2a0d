"""Models behind small protocols. A model library is imported only when a model of it is built."""
