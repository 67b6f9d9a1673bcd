"""The page at `/` and the files that it consists of. They hold nothing secret, so they need no key."""

from fastapi import APIRouter, Response

from dermray.serving import web
from dermray.serving.errors import ApiError

router = APIRouter(include_in_schema=False)
# No script and no style that is not one of our files, no other host, no frame around it. Images are blobs, since they
# are fetched with a key, and data URLs in answers.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",  # files of two versions do not go together
}


@router.head("/")
@router.get("/")
async def page() -> Response:
    """For people: generate, classify, runs."""
    return said("index.html")


@router.get("/web/{file}")
async def file(file: str) -> Response:
    """A part of the page."""
    if file not in web.FILES:
        raise ApiError(404, "the page has no such file", code="not_found")
    return said(file)


def said(name: str) -> Response:
    """A file of the page, with the headers that all of them have."""
    return Response(web.content(name), media_type=web.kind(name), headers=HEADERS)
