"""`python -m sparc` is `sparc`."""

from sparc.app import main

if __name__ == "__main__":
    main()
