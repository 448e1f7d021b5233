"""Recommendations over HTTP, as people ask for them: `python scripts/serve.py run=RUN_DIR`."""
