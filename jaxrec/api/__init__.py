"""The Python API behind `jaxrec.Dataset`, `jaxrec.split`, `jaxrec.fit`, `jaxrec.search`, `jaxrec.evaluate`."""
