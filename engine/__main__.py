"""`python -m engine`, the same as `engine`."""

from engine.cli import main

if __name__ == "__main__":
    main()
