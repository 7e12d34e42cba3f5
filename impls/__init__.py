"""What is driven: the reference, the adapters, and how a testee is found, built, started and spoken to."""
