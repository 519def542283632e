"""`python -m edge_sdk` and the `edge-sdk` script."""

import sys

from edge_sdk.cli.command import main

if __name__ == "__main__":
    sys.exit(main())
