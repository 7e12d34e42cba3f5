"""What an execution must show: the model's prediction for calls, the contract of transports, and the invariants of everything."""
