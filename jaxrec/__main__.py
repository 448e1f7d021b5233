"""`python -m jaxrec`: the `jaxrec` command."""

from jaxrec.config import main

main()
