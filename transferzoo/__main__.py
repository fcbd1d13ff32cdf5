"""`python -m transferzoo`."""

from transferzoo.cli.app import main

if __name__ == "__main__":
    main()
