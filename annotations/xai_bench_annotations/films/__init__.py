"""Films: decoded in a process that can be killed, kept as 16-bit pixels, and drawings turned into pixels."""
