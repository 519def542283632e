"""The `edge-sdk` command: one file per subcommand, found through entry points.

A package adds a subcommand by the entry-point group `edge_sdk.commands`, whose entries are objects
with the four attributes of `Command`; that is how `edge-sdk serve` comes from `server_ref` without
an import of it here.
"""

from edge_sdk.cli.command import Command

__all__ = ["Command"]
