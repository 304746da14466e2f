"""The entry point. It imports typer only after it knows that typer is there."""

import importlib.util
import sys


def main() -> None:
    """Run the command line and exit with its code."""
    missing = [name for name in ("typer", "rich") if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"isthmus: the command line needs {' and '.join(missing)}: pip install 'isthmus[cli]'\n"
        )
        sys.exit(2)
    from isthmus.cli.app import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
