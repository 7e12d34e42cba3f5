"""What chooses the next program: guided by behaviour, by Hypothesis, by coverage of code, or by differences."""
