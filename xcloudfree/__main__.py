"""``python -m xcloudfree``: the command line, where its script is not on the path."""

from xcloudfree.cli import main

if __name__ == "__main__":
    main(prog_name="xcloudfree")
