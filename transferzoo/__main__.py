"""`python -m transferzoo`, and the console script."""

import os
import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is still being imported is as quiet as later."""
    if sys.path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109
        del sys.path[0]  # `python -m` puts it there: no file of the working folder is to be imported
    try:
        from transferzoo.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
