"""What was seen: result records and every format as a pure function of them."""
