"""`python -m fcnn` is the `fcnn` command, for when the scripts of an environment are not on the PATH."""

from fcnn.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
