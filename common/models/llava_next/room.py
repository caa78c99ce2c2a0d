"""How much memory of their device the describers take beside the weights, if nobody says otherwise."""

KV_BYTES = 8 * 2**30
"""For the keys and values of one batch: 5 rows of the 7B or 3 of the 13B, in 16 bits, of pictures of 1024 x 1024 pixels."""

PREFIX_BYTES = 6 * 2**30
"""Enough for the two pictures of a pair of the 13B in 16 bits, which take 4.5 GiB: a batch may end between their boxes."""
