"""The operator's page: files that the server serves itself, and the rule that nothing else loads.

The page asks the API for everything it shows, with the operator's token, which it keeps in the
tab's session storage. `vendor/` holds uPlot with its licence, as published.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

INDEX = "index.html"

MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}


@dataclasses.dataclass(frozen=True, slots=True)
class PageFile:
    """One file as it is sent."""

    body: bytes
    media_type: str
    etag: str


@functools.cache
def page_files() -> Mapping[str, PageFile]:
    """Every file of the page by its name; names come from here only, never from a request."""
    here = Path(__file__).parent
    return {
        path.name: _page_file(path)
        for folder in (here / "page", here / "vendor")
        for path in sorted(folder.iterdir())
        if path.suffix in MEDIA_TYPES
    }


def _page_file(path: Path) -> PageFile:
    body = path.read_bytes()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return PageFile(body, MEDIA_TYPES[path.suffix], etag)
