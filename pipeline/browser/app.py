"""The label browser as a web application: its addresses, who may ask, and errors as answers."""

import json
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any, Final

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pipeline.body import Skel
from pipeline.browser.answers import Browser, BuildingError, json_answer
from pipeline.browser.browse_config import BrowseConfig
from pipeline.browser.locked_sql import QueryRefusedError, QueryTooSlowError
from pipeline.browser.photo_shelf import NoPhotoError, PhotoShelf
from pipeline.browser.security import Guard
from pipeline.labels.files.errors import LabelStoreError
from pipeline.labels.store import LabelStore
from schemas.gender import Gender

STATIC: Final = files("pipeline.browser") / "static"

Answer = Callable[[Request], Response]


def make_app(store: LabelStore, shelf: PhotoShelf, skels: Mapping[Gender, Skel], config: BrowseConfig) -> Starlette:
    """The whole server, guarded. skels: by the gender of labels, as `load_skels` gives them."""
    browser = Browser(store, shelf, skels, config)
    answers: dict[str, Answer] = {
        "rounds": browser.rounds,
        "facets": browser.facets,
        "people": browser.people,
        "count": browser.count,
        "histogram": browser.histogram,
        "scatter": browser.scatter,
        "person": browser.person,
        "video": browser.video,
        "picture": browser.picture,
        "body": browser.body,
        "faces": browser.faces,
        "reviews": browser.reviews,
        "download/{form}": browser.download,
    }
    limiter = CapacityLimiter(2 * config.threads + 2)
    routes = [Route(f"/api/{path}", _threaded(answer, limiter)) for path, answer in answers.items()]
    routes.append(Route("/api/review", _posted(browser.review, limiter), methods=["POST"]))
    routes.append(Route("/", _home))
    return Starlette(
        routes=[*routes, Mount("/static", StaticFiles(directory=str(STATIC)))],
        middleware=[Middleware(Guard, config=config)],
    )


async def _home(request: Request) -> Response:
    return FileResponse(str(STATIC / "index.html"), headers={"cache-control": "no-cache"})


def _threaded(answer: Answer, limiter: CapacityLimiter) -> Callable[[Request], Awaitable[Response]]:
    async def run(request: Request) -> Response:
        return await to_thread.run_sync(_answered, lambda: answer(request), limiter=limiter)

    return run


def _posted(
    answer: Callable[[Request, dict[str, Any]], Response], limiter: CapacityLimiter
) -> Callable[[Request], Awaitable[Response]]:
    async def run(request: Request) -> Response:
        try:
            body = json.loads(await request.body())
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            return json_answer({"error": "a JSON object is expected"}, status=400)
        return await to_thread.run_sync(_answered, lambda: answer(request, body), limiter=limiter)

    return run


def _answered(answer: Callable[[], Response]) -> Response:
    """Errors that a visitor can mend, or must know of, as JSON."""
    try:
        return answer()
    except BuildingError as work:
        return json_answer({"building": {"done": work.done, "total": work.total}}, status=202)
    except QueryRefusedError as error:
        return json_answer({"error": str(error)}, status=400)
    except (NoPhotoError, LookupError) as error:
        return json_answer({"error": str(error)}, status=404)
    except QueryTooSlowError as error:
        return json_answer({"error": str(error)}, status=504)
    except (LabelStoreError, OSError) as error:
        return json_answer({"error": str(error)}, status=500)
