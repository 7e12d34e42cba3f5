"""What nobody thought of: the place of the fuzz harness (programs, oracle, engines, campaigns), which is not built yet."""
