"""`python -m jaxrec`: the `jaxrec` command."""

from jaxrec.cli import main

main()
