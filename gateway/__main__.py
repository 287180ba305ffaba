"""`python -m gateway` is `portcullis`."""

from gateway.cli import main

if __name__ == "__main__":
    main()
