"""The tests of reports share one module of synthetic runs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
