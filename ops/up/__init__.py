"""All workers on this machine, each a process of its own."""
