"""A harness that mutates inputs and compares what bige reads with an independent reader."""
