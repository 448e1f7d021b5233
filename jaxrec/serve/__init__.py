"""Recommendations over HTTP, as people ask for them: `jaxrec serve run=RUN_DIR`."""
