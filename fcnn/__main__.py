"""`python -m fcnn` is the `fcnn` command, for when the scripts of an environment are not on the PATH."""

if __name__ == "__main__":
    try:
        from fcnn.cli import main
    except KeyboardInterrupt:  # before anything has begun
        raise SystemExit(130) from None
    raise SystemExit(main())
