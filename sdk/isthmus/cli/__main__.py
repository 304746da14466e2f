"""``python -m isthmus.cli``: the command line of this very interpreter, for processes that it starts."""

from isthmus.cli.main import main

main()
