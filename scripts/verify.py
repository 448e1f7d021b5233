"""`jaxrec verify`, with the code of this checkout."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # before any installed jaxrec

from jaxrec.cli import main

if __name__ == "__main__":
    main(["verify", *sys.argv[1:]])
