"""What is right: requirements, the raw peer, the census and the pytest suite."""
