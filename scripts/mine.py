"""Mines negatives: `python scripts/mine.py run=RUN_DIR out=negatives.parquet`; see docs/negatives.md."""

from jaxrec.config import mine

if __name__ == "__main__":
    mine()
