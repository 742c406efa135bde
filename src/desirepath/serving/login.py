# SPDX-License-Identifier: Apache-2.0
"""The way into the console for people: an admin key, once, for a signed cookie that lasts half a day.

The cookie is never readable by scripts, never sent from another site's page, and worth nothing once its key
is revoked. Programs send keys instead and never come here.
"""

from __future__ import annotations

from html import escape
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from desirepath.serving.access import SESSION, SESSION_S, Doors, is_same_origin
from desirepath.serving.body import read_body
from desirepath.serving.problems import ProblemError

router = APIRouter(include_in_schema=False)
MOST_BYTES = 4096
HOME = "/"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Desirepath: log in</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center; }}
body {{ min-height: 90vh; margin: 0 1rem; }}
form {{ width: min(26rem, 100%); display: grid; gap: .75rem; }}
h1 {{ font-size: 1.4rem; margin: 0; }}
input, button {{ font: inherit; padding: .5rem .75rem; border-radius: .4rem; border: 1px solid #8888; }}
button {{ background: #2f6f4f; color: #fff; border: 0; cursor: pointer; }}
.wrong {{ color: #b3261e; margin: 0; }}
small {{ opacity: .75; }}
</style>
</head>
<body>
<form method="post" action="/login?next={next}">
<h1>Desirepath</h1>
<label for="key">Admin key 管理密钥</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
{wrong}
<button>Log in 登录</button>
<small>Make a key with <code>desirepath keys create DIR --scope admin</code>.</small>
</form>
</body>
</html>
"""


@router.get("/login")
async def login_page(next: str = HOME) -> HTMLResponse:
    """A form for a key."""
    return _page(next)


@router.post("/login")
async def login(request: Request, next: str = HOME) -> Response:
    """A cookie for an admin key, and on to the page that was asked for."""
    if not is_same_origin(request.headers, strictly=True):
        raise ProblemError(403, "Another site's page may not log anyone in here.")
    form = parse_qs((await read_body(request, MOST_BYTES)).decode("utf-8", "replace"))
    doors: Doors = request.app.state.doors
    try:
        _, cookie = doors.login(form.get("key", [""])[0].strip())
    except ProblemError as problem:
        doors.note_refused(request.client.host if request.client is not None else "unknown")
        return _page(next, str(problem.detail), problem.status)
    response = RedirectResponse(_inside(next), status_code=303, headers={"Cache-Control": "no-store"})
    response.set_cookie(
        SESSION, cookie, max_age=SESSION_S, httponly=True, samesite="strict", secure=_is_secure(request)
    )
    return response


@router.post("/logout")
async def logout(request: Request) -> Response:
    """Forget the cookie."""
    response = RedirectResponse("/login", status_code=303, headers={"Clear-Site-Data": '"cookies"'})
    response.delete_cookie(SESSION, httponly=True, samesite="strict", secure=_is_secure(request))
    return response


def _page(following: str, wrong: str = "", status: int = 200) -> HTMLResponse:
    told = f'<p class="wrong" role="alert">{escape(wrong)}</p>' if wrong else ""
    page = _PAGE.format(next=quote(_inside(following), safe="/"), wrong=told)
    return HTMLResponse(page, status_code=status, headers=HEADERS)


def _inside(path: str) -> str:
    """The path where it is one of this site, else the first page: a login must not lead elsewhere."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_ours else HOME


def _is_secure(request: Request) -> bool:
    return request.url.scheme == "https"
