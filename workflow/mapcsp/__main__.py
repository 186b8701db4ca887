"""`python -m mapcsp`: the same as the command `mapcsp`."""

from mapcsp.cli import main

main()
