"""Findings: kept one a file, made small, replayed, printed as plain system calls, made a case of the suite."""
