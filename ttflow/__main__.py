"""`python -m ttflow` is the command `ttflow`."""

from ttflow.cli import main

if __name__ == "__main__":
    main(prog_name="ttflow")
