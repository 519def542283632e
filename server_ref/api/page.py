"""The operator's page and its files. They hold nothing secret: what they show needs a token."""

from aiohttp import web

from edge_sdk.errors import Reason, Refused
from server_ref.api.exchange import Exchange
from server_ref.dashboard import INDEX, page_files

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy: nothing from elsewhere, nothing inline."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


async def index(exchange: Exchange) -> web.StreamResponse:
    """`GET /`: the page itself."""
    return _answer(exchange, INDEX)


async def file(exchange: Exchange) -> web.StreamResponse:
    """`GET /page/{file}`: a script, a style sheet or a licence."""
    return _answer(exchange, exchange.request.match_info["file"])


def _answer(exchange: Exchange, name: str) -> web.Response:
    found = page_files().get(name)
    if found is None:
        raise Refused(Reason.NOT_FOUND, "no such file")
    headers = HEADERS | {"ETag": found.etag}
    if exchange.request.headers.get("If-None-Match") == found.etag:
        return web.Response(status=304, headers=headers)
    return web.Response(
        body=found.body, content_type=found.media_type, charset="utf-8", headers=headers
    )
