"""Looks at data before training: `python scripts/explore.py data=…` writes a page of charts and their tables."""

from jaxrec.config import explore

if __name__ == "__main__":
    explore()
