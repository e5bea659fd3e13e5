"""`python -m claire` is the `claire` command."""

from claire.cli import main

main()
