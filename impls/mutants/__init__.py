"""Faulty variants of the reference, each one change away from it and named after the defect that it stands for.

They measure the suite: a mutant that no case catches shows what the suite does not see. `tables` reads what there is,
`patch` puts one in place of the reference within one process, `testee` is the program that the harness starts, and
`forked` starts it without a fresh interpreter.
"""

PREFIX = "mutant:"
"""What stands before a mutant's id where an implementation is named."""
