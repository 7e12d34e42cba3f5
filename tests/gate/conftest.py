"""The tests of the gate share one module of small worlds."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
