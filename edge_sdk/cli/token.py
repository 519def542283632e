"""`edge-sdk token`: join tokens of a running server."""

import argparse
from collections.abc import Iterable

from edge_sdk.cli.command import Command
from edge_sdk.cli.operating import add_server_arguments, ask, duration_s, moment, show, table
from edge_sdk.values.operating import JoinToken, NewToken


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a join token; it is shown once")
    create.add_argument("--uses", type=int, default=1, help="devices it admits (default 1)")
    create.add_argument(
        "--expires", type=duration_s, default=7 * 86400.0, metavar="TIME", help="default 7d"
    )
    create.add_argument("--label", default="", help="what it is for")
    listed = actions.add_parser("list", help="every join token, without what it is")
    revoke = actions.add_parser("revoke", help="nobody joins by it any more; devices stay")
    revoke.add_argument("id", help="as `list` shows it")
    for action in (create, listed, revoke):
        add_server_arguments(action)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.action == "create":
        wanted = NewToken(uses=arguments.uses, expires_s=arguments.expires, label=arguments.label)
        made = ask(arguments, lambda server: server.make_token(wanted))
        until = f"{made.uses} uses until {moment(made.expires_at)}; revoke it by {made.id}"
        show(arguments, made, [made.token, until])
    elif arguments.action == "list":
        found = ask(arguments, lambda server: server.tokens())
        show(arguments, found, _table(found))
    else:
        found = ask(arguments, lambda server: server.revoke_token(arguments.id))
        show(arguments, found, _table(found))
    return 0


def _table(tokens: Iterable[JoinToken]) -> list[str]:
    rows = [
        (t.id, t.state, f"{t.uses_left}/{t.uses}", moment(t.expires_at), t.label) for t in tokens
    ]
    return table(("id", "state", "left", "expires", "label"), rows)


COMMAND = Command("token", "Make, list and withdraw join tokens.", _add_arguments, _run)
