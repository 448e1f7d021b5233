"""Exports: `python scripts/export.py run=RUN_DIR out=FOLDER`; the folder loads without jaxrec."""

from jaxrec.config import export

if __name__ == "__main__":
    export()
