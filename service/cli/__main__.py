"""`python -m service.cli`: the same command, as the supervisor starts its children."""

from service.cli import main

main()
