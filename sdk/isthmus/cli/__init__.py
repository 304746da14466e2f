"""The command line, isthmus."""
