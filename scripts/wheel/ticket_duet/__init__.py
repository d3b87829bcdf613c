"""The installed product: one top-level name that holds all packages of the source tree.

The packages import each other by the names they have in the source tree (`tickets`, `eval`, ...). Only code that was
started through `ticket_duet` sees them, so an installation gives no generic name to anything else in the environment.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
