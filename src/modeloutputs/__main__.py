"""`python -m modeloutputs`: the command line."""

from .cli import main

main()
