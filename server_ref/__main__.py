"""`python -m server_ref PLAN --state DIR …`, also `edge-sdk serve PLAN …`."""

import argparse
import asyncio
import contextlib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from edge_sdk.errors import EdgeError, Misuse, Unavailable
from edge_sdk.plan import Plan, load_plan
from server_ref.app import Listening, serve
from server_ref.coordinator import Evaluate, Orders
from server_ref.logs import start_logging
from server_ref.settings import Settings, dump_settings, load_settings


class Command(NamedTuple):
    """What `edge-sdk` needs of a subcommand."""

    name: str
    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every flag is a setting; those not given come from environment, file or default."""
    add = parser.add_argument
    add("plan", type=Path, nargs="?", help="plan bundle to train")
    add("--config", type=Path, metavar="FILE", help="TOML file with any of these settings")
    add(
        "--state",
        type=Path,
        metavar="DIR",
        help="survives restarts (default: PLAN.state beside the plan)",
    )
    add("--host", help="address to listen on (default 127.0.0.1)")
    add("--port", type=int, help="0 takes any free port (default 8080)")
    add("--tls-cert", type=Path, metavar="FILE", help="certificate chain, PEM")
    add("--tls-key", type=Path, metavar="FILE", help="its private key, PEM")
    add("--insecure", action="store_true", default=None, help="beyond loopback without TLS")
    add("--announce", type=Path, metavar="FILE", help="write address and tokens here as JSON")
    add("--rounds", type=int, help="versions to publish (default 10)")
    add("--cohort", type=int, help="updates that close a round (default 10)")
    add("--min-updates", type=int, help="fewest at the deadline (default half the cohort)")
    add("--over-selection", type=float, help="places per wanted update (default 1.0)")
    add(
        "--max-staleness", type=int, metavar="VERSIONS",
        help="asynchronous: take updates trained from up to so many versions before (default 0)",
    )  # fmt: skip
    add("--round-deadline", type=float, dest="round_deadline_s", metavar="S", help="default 600")
    add("--pace", type=float, dest="pace_s", metavar="S", help="pause of idle devices (default 5)")
    add("--codec", action="append", dest="codecs", metavar="SPEC", help="default eden:bits=2")
    add("--epochs", type=int, help="local passes (default 1)")
    add("--batch-size", type=int, help="default 32")
    add("--lr", type=float, dest="learning_rate", help="default 0.02")
    add("--chunk-bytes", type=int, help="largest frame (default 65536)")
    add("--downlink-codec", metavar="SPEC", help="of published versions (default float32)")
    add(
        "--no-report-costs", action="store_false", dest="report_costs", default=None,
        help="do not ask devices what a round cost them",
    )  # fmt: skip
    add("--evaluate", type=Path, metavar="FILE.npz", help="x_test, y_test: measure each version")
    add("--run-seed", type=int, help="root of every random choice of a new run")
    add("--join-uses", type=int, help="devices the join token admits (default: the cohort)")
    add("--join-expires", type=float, dest="join_expires_s", metavar="S", help="default 7 days")
    add(
        "--new-token", type=int, nargs="?", const=0, metavar="USES",
        help="make and show a fresh join token",
    )  # fmt: skip
    add("--revoke", action="append", metavar="DEVICE", help="withdraw a device, by id or name")
    add("--header-timeout", type=float, dest="header_timeout_s", metavar="S", help="default 20")
    add("--silence", type=float, dest="silence_s", metavar="S", help="of a body, default 60")
    add("--away", type=float, dest="away_s", metavar="S", help="told when stopping, default 30")
    add("--log-format", choices=["auto", "text", "json"], help="default: text on a terminal")
    add("--log-level", choices=["debug", "info", "warning", "error"], help="default warning")
    add("--verbose", action="store_true", help="short for --log-level info: every refusal")
    add("--print-config", action="store_true", help="show the settings in force as TOML and end")
    _add_aggregation(parser)
    _add_stages(parser)
    _add_split(parser)


def _add_aggregation(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("compression with memory, and the server's step").add_argument
    add("--downlink-speed", type=float, metavar="SHARE", help="default: fitted to each version")
    add("--keep-versions", type=int, metavar="N", help="whose files are kept (default 50)")
    add("--keep-logs", type=int, metavar="N", help="ended rounds with their chunks (default 1)")
    add("--memory", choices=["none", "error-feedback", "artemis"], help="of devices")
    add(
        "--memory-speed",
        type=float,
        metavar="ALPHA",
        help="of Artemis memories (default: by codec)",
    )
    add("--forget-after", type=int, dest="forget_after_rounds", metavar="ROUNDS", help="memories")
    add("--weighing", choices=["examples", "error", "equal"], help="what updates count by")
    add(
        "--aggregation",
        metavar="SPEC",
        help="mean, clip, median, trimmed:… or krum:… (default mean)",
    )
    add("--no-shrink", action="store_false", dest="shrink", default=None, help="of noisy means")
    add("--optimizer", choices=["fedavg", "momentum", "fedadam"], help="of the server")
    add("--server-learning-rate", type=float, metavar="R", help="default 1")
    add("--server-momentum", type=float, metavar="M", help="default 0.9")
    add("--proximity", type=float, metavar="MU", help="FedProx's term (default 0)")


def _add_stages(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("growth, of a plan built with --stages").add_argument
    add(
        "--schedule", choices=["whole", "equal", "halved", "plateau"],
        help="whole: do not grow (default equal)",
    )  # fmt: skip
    add("--warm-up", type=int, dest="warm_up_rounds", metavar="ROUNDS", help="after each growth")
    add("--patience", type=int, metavar="ROUNDS", help="without gain: a plateau (default 5)")
    add("--decay", choices=["none", "cosine"], help="of the learning rate (default none)")
    add("--least-stage", type=int, metavar="STAGE", help="smallest that devices may train instead")
    add("--stage-quorum", type=float, metavar="SHARE", help="of updates for the whole stage")


def _add_split(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("split learning, of a plan built with --cut").add_argument
    add(
        "--way", action="append", dest="ways", choices=["full", "split"],
        help="how devices may train, preferred first; may be given twice (default full)",
    )  # fmt: skip
    add("--split-activations", metavar="CODEC", help="of devices, e.g. product:q=288,l=8")
    add("--split-gradients", metavar="CODEC", help="sent back (default eden:bits=4)")
    add("--split-correction", type=float, metavar="LAMBDA", help="FedLite's (default 0)")
    add("--split-sessions", type=int, metavar="N", help="in memory at once (default 256)")
    add("--split-idle", type=float, dest="split_idle_s", metavar="S", help="default 120")


def _run(arguments: argparse.Namespace) -> int:
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    config = given.pop("config", None)
    only_print = given.pop("print_config", False)
    if given.pop("verbose", False):
        given.setdefault("log_level", "info")
    orders = _orders(given.pop("new_token", None), given.pop("revoke", []))
    settings = load_settings(given, config=config)
    if only_print:
        print(dump_settings(settings), end="")
        return 0
    start_logging(settings)
    plan = _load(settings.plan)
    asyncio.run(
        serve(
            settings,
            plan,
            orders=orders,
            evaluate=_evaluator(settings, plan),
            on_listening=lambda listening: _announce(settings, listening),
            tell=_say,
        )
    )
    return 0


def _orders(uses: int | None, revoke: list[str]) -> Orders:
    if uses is not None and uses < 0:
        raise Misuse(f"--new-token {uses}: a join token admits at least one device")
    return Orders(new_token=uses is not None, token_uses=uses or None, revoke=tuple(revoke))


def _load(path: Path) -> Plan:
    try:
        return load_plan(path.read_bytes())
    except OSError as error:
        raise Misuse(f"{path}: {error.strerror}") from None


def _evaluator(settings: Settings, plan: Plan) -> Evaluate | None:
    """The evaluation room, which loads onnxruntime; left alone unless asked for."""
    if settings.evaluate is None:
        return None
    try:
        room = importlib.import_module("server_ref.evaluation")
    except ModuleNotFoundError as error:
        raise Unavailable(f"--evaluate needs {error.name}: pip install {error.name}") from None
    evaluate: Evaluate = room.evaluator(plan, settings.evaluate)
    return evaluate


def _announce(settings: Settings, listening: Listening) -> None:
    opened = listening.opened
    _say(f"listening on {listening.url}, run {opened.coordinator.run}, state in {settings.state}")
    if opened.join_token is None:
        _say("taken up again; devices that joined before need nothing (--new-token for more)")
    else:
        _say("shown once: let a device join with")
        _say(f"  edge-sdk join {listening.url} --token {opened.join_token} --data FILE.npz")
    _say(f"operator token: {opened.operator_token}")


def _say(line: str) -> None:
    """One line on stdout, at once; a terminal that is gone must not end the run."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


COMMAND = Command(
    "serve", "Aggregate the updates of devices that train a plan.", _add_arguments, _run
)


def main() -> int:
    """Run the command by itself; errors become one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m server_ref", description=COMMAND.summary)
    COMMAND.add_arguments(parser)
    try:
        return COMMAND.run(parser.parse_args())
    except EdgeError as error:
        print(f"{type(error).__name__.lower()}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
