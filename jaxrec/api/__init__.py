"""Python API: `jaxrec.Dataset`, `jaxrec.split`, `jaxrec.fit`, `jaxrec.search`, `jaxrec.evaluate`."""
