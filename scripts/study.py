"""Looks at sweeps. `python scripts/study.py` lists them; `study=NAME` shows one, with the command of any trial."""

from jaxrec.config import study

if __name__ == "__main__":
    study()
