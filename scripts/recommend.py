"""Recommends: `python scripts/recommend.py run=RUN_DIR 'users=[196,22]'`; out=FILE writes CSV or Parquet."""

from jaxrec.config import recommend

if __name__ == "__main__":
    recommend()
