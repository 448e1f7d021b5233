"""Own files, as programs written for jaxrec 0.1.0 import them; the reader is `jaxrec.data.sources.files`."""

from jaxrec.data.sources.files import files

__all__ = ["files"]
