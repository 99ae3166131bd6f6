"""Where the checkout that is being tested lies."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The folder of README.md, ``src`` and ``tests``."""

SUPPORT = Path(__file__).parent
"""What tests share; on ``sys.path`` while they run."""
