"""HTTP server for recommendations of a trained run: `jaxrec serve run=RUN_DIR`."""
