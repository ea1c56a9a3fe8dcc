"""The files in `web/static/`, compressed once per process.

`asset("page.js")` in a template is the URL of a file with the digest of its content, such as
`/static/page.js?v=0c1d2e3f4a5b`. A browser keeps such a response for a year, because another content has another URL.
Without the digest, or with an old one, the browser asks each time whether the file has changed.
"""

from __future__ import annotations

import gzip
from hashlib import blake2b
from mimetypes import guess_type
from pathlib import Path
from typing import NamedTuple

from flask import Flask, Response, abort, current_app, request

FOLDER = Path(__file__).resolve().parent / "static"
UNCHANGING = "public, max-age=31536000, immutable"
DIGEST_BYTES = 6  # enough to tell the versions of one file apart


class Asset(NamedTuple):
    """A file and what is sent of it. `modified` is its time in nanoseconds."""

    content: bytes
    compressed: bytes
    media_type: str
    version: str
    modified: int


_assets: dict[str, Asset] = {}


def register(app: Flask) -> None:
    """Serve the files, and add `asset` to the templates of `app`."""
    app.add_url_rule("/static/<path:filename>", "static", send, methods=["GET"])
    app.add_template_global(asset_url, "asset")


def asset_url(name: str) -> str:
    """Return the URL of the current content of a file."""
    return f"/static/{name}?v={_load(name).version}"


def send(filename: str) -> Response:
    """Return a file, compressed if the client accepts that."""
    try:
        asset = _load(filename)
    except (OSError, ValueError):
        abort(404)
    accepts_gzip = request.accept_encodings["gzip"] > 0
    response = Response(asset.compressed if accepts_gzip else asset.content, content_type=asset.media_type)
    if accepts_gzip:
        response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = UNCHANGING if request.args.get("v") == asset.version else "no-cache"
    response.set_etag(asset.version, weak=True)  # weak, because it is the same for both encodings
    response.make_conditional(request)
    return response


def _load(name: str) -> Asset:
    """Return a file. While debugging, a changed file is read again. Raises OSError, or ValueError for a NUL."""
    asset = _assets.get(name)
    if asset is not None and not current_app.debug:
        return asset
    path = (FOLDER / name).resolve()
    if not path.is_relative_to(FOLDER):
        raise FileNotFoundError(name)
    modified = path.stat().st_mtime_ns
    if asset is None or asset.modified != modified:
        asset = _assets[name] = _read(path, modified)
    return asset


def _read(path: Path, modified: int) -> Asset:
    content = path.read_bytes()
    media_type = guess_type(path.name)[0] or "application/octet-stream"
    if media_type.startswith("text/") or media_type == "image/svg+xml":
        media_type += "; charset=utf-8"
    version = blake2b(content, digest_size=DIGEST_BYTES).hexdigest()
    return Asset(content, gzip.compress(content, 9, mtime=0), media_type, version, modified)
