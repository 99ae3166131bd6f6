"""fastconv beside other libraries, from a checkout: the same as ``fastconv bench``.

The rows are in src/fastconv/bench.
"""

import sys

from fastconv.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
