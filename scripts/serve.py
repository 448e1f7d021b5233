"""Serves a run over HTTP: `python scripts/serve.py run=RUN_DIR`, then http://127.0.0.1:8000."""

from jaxrec.config import serve

if __name__ == "__main__":
    serve()
