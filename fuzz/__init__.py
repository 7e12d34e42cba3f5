"""What nobody thought of: programs, oracle, engines, campaigns."""
