"""``python asv_benchmarks/peers``."""

import sys
from pathlib import Path

from fastconv.programs.ending import begin

if __name__ == "__main__":
    begin("peers")
    # Python puts this folder itself on the path, where its files would have names as common as "bits".
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from peers.command import main

    sys.exit(main())
