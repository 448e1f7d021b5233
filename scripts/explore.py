"""Looks at data before training: `python scripts/explore.py data=…` writes one page of charts, and their tables as CSV."""

from jaxrec.config import explore

if __name__ == "__main__":
    explore()
