"""The runner: the one process that may start things, for a gateway that may not."""
