"""What the operator sees and orders; and the calls that anybody may make."""

import dataclasses

from aiohttp import web

from edge_sdk.errors import Malformed, Reason, Refused
from edge_sdk.protocol import JSON_TYPE, WEIGHTS_TYPE
from edge_sdk.values.operating import NewToken, Refusals, Rollback
from server_ref.api.exchange import Exchange

# ------------------------------------------------------------------ runs


async def runs(exchange: Exchange) -> web.StreamResponse:
    """`GET /v1/runs`: every run, without its rounds."""
    exchange.require_operator()
    summary = await exchange.coordinator.summary()
    return exchange.answer((dataclasses.replace(summary, rounds=()),))


async def run(exchange: Exchange) -> web.StreamResponse:
    """`GET /v1/runs/{run}`: one run with its rounds."""
    _operator_of_run(exchange)
    return exchange.answer(await exchange.coordinator.summary())


async def costs(exchange: Exchange) -> web.StreamResponse:
    """`GET …/costs`: what the run cost its devices, as they reported it."""
    _operator_of_run(exchange)
    return exchange.answer(exchange.coordinator.desk.costs)


async def pause(exchange: Exchange) -> web.StreamResponse:
    """`POST …/pause`: nobody gets new work; who has some may finish it."""
    _operator_of_run(exchange)
    await exchange.coordinator.desk.pause()
    return await _state(exchange)


async def resume(exchange: Exchange) -> web.StreamResponse:
    """`POST …/resume`: work is given again."""
    _operator_of_run(exchange)
    await exchange.coordinator.desk.resume()
    return await _state(exchange)


async def stop(exchange: Exchange) -> web.StreamResponse:
    """`POST …/stop`: the run ends for good with the round that is open."""
    _operator_of_run(exchange)
    await exchange.coordinator.desk.stop()
    return await _state(exchange)


async def roll_back(exchange: Exchange) -> web.StreamResponse:
    """`POST …/rollback`: an old version is published as a new one; the open round is abandoned."""
    _operator_of_run(exchange)
    request = await exchange.message(Rollback)
    await exchange.coordinator.desk.roll_back(request.version)
    return await _state(exchange)


async def weights(exchange: Exchange) -> web.StreamResponse:
    """`GET …/models/{version}/weights`: exact float32 weights, or their average over versions."""
    _operator_of_run(exchange)
    averaged = exchange.request.query.get("averaged", "false")
    if averaged not in {"true", "false"}:
        raise Malformed("averaged is true or false")
    version = exchange.number_in_path("version")
    found = await exchange.coordinator.desk.weights(version, averaged=averaged == "true")
    return web.Response(body=found.astype("<f4").tobytes(), content_type=WEIGHTS_TYPE)


def _operator_of_run(exchange: Exchange) -> None:
    exchange.require_operator()
    exchange.require_run()


async def _state(exchange: Exchange) -> web.StreamResponse:
    summary = await exchange.coordinator.summary()
    return exchange.answer(dataclasses.replace(summary, rounds=()))


# ------------------------------------------------------------------ join tokens and devices


async def tokens(exchange: Exchange) -> web.StreamResponse:
    """`GET /v1/tokens`: every join token, without what it is."""
    exchange.require_operator()
    return exchange.answer(await exchange.coordinator.desk.tokens())


async def make_token(exchange: Exchange) -> web.StreamResponse:
    """`POST /v1/tokens`: a fresh join token, shown once."""
    exchange.require_operator()
    request = await exchange.message(NewToken)
    return exchange.answer(await exchange.coordinator.desk.make_token(request))


async def revoke_token(exchange: Exchange) -> web.StreamResponse:
    """`DELETE /v1/tokens/{token}`: nobody joins by it any more."""
    exchange.require_operator()
    token = exchange.request.match_info["token"]
    if not (len(token) == 12 and set(token) <= set("0123456789abcdef")):
        raise Refused(Reason.NOT_FOUND, "no such join token")
    return exchange.answer(await exchange.coordinator.desk.revoke_token(token))


async def devices(exchange: Exchange) -> web.StreamResponse:
    """`GET /v1/devices`: every device with what it last did and said."""
    exchange.require_operator()
    return exchange.answer(await exchange.coordinator.desk.devices())


async def revoke_device(exchange: Exchange) -> web.StreamResponse:
    """`POST /v1/devices/{device}/revoke`: its token is refused from now on."""
    exchange.require_operator()
    return exchange.answer(await exchange.coordinator.desk.revoke(_device(exchange)))


async def forget_device(exchange: Exchange) -> web.StreamResponse:
    """`POST /v1/devices/{device}/forget`: revoked, and what names it is erased."""
    exchange.require_operator()
    return exchange.answer(await exchange.coordinator.desk.forget(_device(exchange)))


async def rotate_device(exchange: Exchange) -> web.StreamResponse:
    """`POST /v1/devices/{device}/rotate`: a fresh token, to be carried to the device."""
    exchange.require_operator()
    return exchange.answer(await exchange.coordinator.desk.rotate(_device(exchange)))


def _device(exchange: Exchange) -> str:
    return exchange.request.match_info["device"][:200]


# ------------------------------------------------------------------ the server


async def refusals(exchange: Exchange) -> web.StreamResponse:
    """`GET /v1/refusals`: how often each reason was given since the server started."""
    exchange.require_operator()
    return exchange.answer(Refusals(reasons=dict(exchange.coordinator.news.refusals)))


async def health(exchange: Exchange) -> web.StreamResponse:  # noqa: ARG001 - the form of a call
    """`GET /healthz`: the server answers."""
    return web.Response(body=b'{"status":"ok"}', content_type=JSON_TYPE)


async def ready(exchange: Exchange) -> web.StreamResponse:
    """`GET /readyz`: the server takes work: it is not stopping and its disk can be written."""
    trouble = exchange.coordinator.ready()
    if trouble is not None:
        away_s = exchange.coordinator.settings.away_s
        raise Refused(Reason.BUSY, trouble, retry_after_s=away_s)
    return web.Response(body=b'{"status":"ready"}', content_type=JSON_TYPE)
