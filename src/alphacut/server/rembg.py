"""rembg's contract, /api/remove: its requests as `Options`, cut-outs and errors as its answers.

Every field may come in the form or the query; the form wins. A field without a counterpart here is
accepted and named in the answer's header X-Alphacut-Ignored, so that nobody is misled.
"""

import json
import re
from importlib.util import find_spec
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from alphacut import values
from alphacut.errors import ImageError, MissingExtra, OptionError, OutputError, UnknownName
from alphacut.options import Options
from alphacut.server import worker
from alphacut.server.body import Fields
from alphacut.server.fetch import BadAddress, FetchDisabled, FetchFailed
from alphacut.server.pool import Reply, RequestFailed
from alphacut.server.refusal import Refusal, image_fault
from alphacut.server.service import Service, while_connected

PATH = "/api/remove"
FILES = ("file", "image_file")
YES, NO = ("true", "1", "yes", "on", "t", "y"), ("false", "0", "no", "off", "f", "n")
# Field: its schema and meaning
PARAMETERS: dict[str, tuple[dict[str, Any], str]] = {
    "model": ({"type": "string"}, "A model that this service has loaded."),
    "om": ({"type": "boolean", "default": False}, "Return the mask only."),
    "bgc": ({"type": "string"}, "Background: r,g,b or r,g,b,a, hex digits or a name."),
    "a": (
        {"type": "boolean", "default": False},
        "Solve edges by closed-form matting, if the service has PyMatting.",
    ),
    "af": ({"type": "integer", "minimum": 0, "maximum": 255}, "Ignored."),
    "ab": ({"type": "integer", "minimum": 0, "maximum": 255}, "Ignored."),
    "ae": ({"type": "integer", "minimum": 0}, "Ignored."),
    "ppm": ({"type": "boolean", "default": False}, "Smooth the edge and make it hard."),
    "dc": ({"type": "boolean", "default": True}, "Give soft edges the subject's own colour."),
    "vm": ({"type": "boolean", "default": False}, "Ignored."),
    "ground": (
        {"type": "string", "default": "off"},
        "Our own: auto, off or a colour: the plain ground behind the subject.",
    ),
    "spill": (
        {"type": "number", "minimum": 0, "maximum": 1, "default": 1},
        "Our own: how much of a screen's light is taken off the subject.",
    ),
    "points": (
        {"type": "string"},
        "Our own: which subject, by places on it: 'X Y; X Y drop', in px or %.",
    ),
    "box": (
        {"type": "string"},
        "Our own: which subject, by a box around it: 'LEFT TOP RIGHT BOTTOM', in px or %.",
    ),
    "extras": (
        {"type": "string"},
        "JSON object of rembg's own arguments: only_mask, bgcolor, sam_prompt.",
    ),
}
_IGNORED = ("af", "ab", "ae", "vm")
_EXTRAS = ("only_mask", "post_process_mask", "bgcolor", "alpha_matting", "sam_prompt")
_EXTRAS_IGNORED = (
    "alpha_matting_foreground_threshold", "alpha_matting_background_threshold",
    "alpha_matting_erode_size",
)  # fmt: skip
# rembg opens the mask and blurs it with a sigma of 2 before the threshold
_SMOOTH_PX = 4.0


def router(service: Service) -> APIRouter:
    """Return the routes of this contract."""
    routes = APIRouter(tags=["rembg"])

    @routes.get(PATH, responses=_responses(), openapi_extra=_describe(post=False))
    async def remove_by_url(request: Request) -> Response:
        """Remove the background of the image at an address."""
        return await _remove(service, request)

    @routes.post(PATH, responses=_responses(), openapi_extra=_describe(post=True))
    async def remove(request: Request) -> Response:
        """Remove the background of an uploaded image."""
        return await _remove(service, request)

    return routes


async def _remove(service: Service, request: Request) -> Response:
    """Answer a request."""
    name = await service.admit(request)
    form = await service.read(request, FILES) if request.method == "POST" else Fields({})
    query = Fields(dict(request.query_params))
    options, ignored = translate(form, query, service)

    async def work() -> tuple[Reply, dict[str, str]]:
        image = await _image(form, query, service, request)
        return await service.cut_out(worker.Request(image, options), name)

    try:
        reply, headers = await while_connected(request, work())
    except RequestFailed as failed:
        raise _refusal(failed, service) from failed
    if ignored:
        headers["X-Alphacut-Ignored"] = ", ".join(ignored)
    return Response(reply.data, media_type="image/png", headers=headers)


def translate(form: Fields, query: Fields, service: Service) -> tuple[Options, list[str]]:
    """Read the fields as `Options`, and name those that have no effect.

    Raises:
        Refusal: 422 if a value is invalid.
    """

    def field(name: str) -> str | None:
        return form.text(name) or query.text(name)

    def flag(name: str, default: bool = False) -> bool:
        text = (field(name) or str(default)).lower()
        if text not in YES + NO:
            raise _invalid(name, "Input should be a valid boolean")
        return text in YES

    for name, maximum in (("af", 255), ("ab", 255), ("ae", 10**6)):
        if (text := field(name)) and not (re.fullmatch(r"\d{1,7}", text) and int(text) <= maximum):
            raise _invalid(name, f"Input should be a whole number from 0 to {maximum}")
    ignored = [name for name in _IGNORED if (text := field(name)) and text.lower() not in NO]
    flag("vm")
    wanted = field("model")
    model = service.resolve_model(wanted) if wanted else service.default_model
    if model is None:
        raise _invalid("model", f"This service has {', '.join(service.models)}")
    extras = _extras(field("extras"))
    ignored += [f"extras.{name}" for name in _EXTRAS_IGNORED if extras.get(name)]
    background = field("bgc")
    if background is None and isinstance(extras.get("bgcolor"), list):
        background = ",".join(map(str, extras["bgcolor"]))
    mask = flag("om") or extras.get("only_mask") is True
    hard = flag("ppm") or extras.get("post_process_mask") is True
    solve = flag("a") or extras.get("alpha_matting") is True
    if solve and find_spec("pymatting") is None:
        solve, ignored = False, ["a", *ignored]
    try:
        points, box = values.read_prompt(extras.get("sam_prompt"))
    except OptionError as error:
        raise _invalid("extras.sam_prompt", error.advice) from error
    try:
        spill = float(field("spill") or Options.spill)
    except ValueError as error:
        raise _invalid("spill", "Input should be a valid number") from error
    try:
        options = Options(
            ground=field("ground") or Options.ground,
            spill=spill,
            model=model,
            format="png",
            result="mask" if mask else "cutout",
            background=None if mask or background is None else colour(background),
            matting="closed-form" if solve else "auto",
            decontaminate=flag("dc", default=True),
            points=field("points") or points,
            box=field("box") or box,
            smooth_px=_SMOOTH_PX if hard else 0.0,
            harden=0.5 if hard else None,
            keep_depth=False,  # as rembg answers
            max_megapixels=service.settings.max_megapixels,
            metadata=service.settings.metadata,
        )
    except OptionError as error:
        raise _invalid(error.option, error.advice) from error
    return options, ignored


def colour(text: str) -> str:
    """Read a colour as rembg writes it, r,g,b[,a] from 0 to 255, or as hex digits or a name.

    Raises:
        Refusal: 422 if it is not a colour.
    """
    parts = [part.strip() for part in text.strip("()[] ").split(",")]
    if len(parts) in (3, 4) and all(re.fullmatch(r"\d{1,3}", part) for part in parts):
        if all(int(part) <= 255 for part in parts):
            return "#" + bytes(map(int, parts)).hex()
    elif found := values.find_colour(text):
        return "#" + bytes(found).hex()
    raise _invalid("bgc", "Give r,g,b or r,g,b,a from 0 to 255, hex digits or a colour's name")


def _extras(text: str | None) -> dict[str, Any]:
    """Read `extras`; of rembg's arguments only those are taken that change how the result looks."""
    if text is None:
        return {}
    try:
        extras = json.loads(text)
    except (ValueError, RecursionError):
        extras = None
    if not isinstance(extras, dict):
        raise _invalid("extras", "Give a JSON object")
    known = (*_EXTRAS, *_EXTRAS_IGNORED)
    for name in extras:
        if name not in known:
            raise _invalid("extras", f"Only these are accepted: {', '.join(known)}")
    return extras


async def _image(form: Fields, query: Fields, service: Service, request: Request) -> bytes:
    """Return the image that a request brings or names."""
    if request.method == "POST":
        image = form.bytes_of("file") or form.bytes_of("image_file")
        if image is None:
            raise _invalid("file", "Field required")
        if len(image) > service.settings.max_body_bytes:
            raise Refusal(413, "file_too_large", "Image exceeds maximum size.")
        return image
    url = query.text("url")
    if url is None:
        raise _invalid("url", "Field required")
    try:
        return await service.fetch(request, url)
    except FetchDisabled as error:
        title = "Fetching is disabled: the service was started without --allow-url."
        raise Refusal(400, "url_disabled", title) from error
    except BadAddress as error:
        title = "Only http and https URLs of public hosts are allowed."
        raise Refusal(400, "invalid_url", title) from error
    except FetchFailed as error:
        raise Refusal(400, "failed_download", "The URL could not be downloaded.") from error


def answer(refusal: Refusal) -> Response:
    """Word a refusal in this contract."""
    detail: Any = f"{refusal.title} {refusal.detail}".strip()
    if refusal.field:
        where = "query" if refusal.field == "url" else "body"
        detail = [{"type": refusal.code, "loc": [where, refusal.field], "msg": refusal.title}]
    return JSONResponse({"detail": detail}, refusal.status, refusal.headers)


def _refusal(failed: RequestFailed, service: Service) -> Refusal:
    """Word a worker's error in this contract."""
    if failed.error is ImageError:
        status = 413 if failed.reason == "too_large" else 400
        fault = image_fault(failed.reason, service.settings.max_megapixels)
        return Refusal(status, str(failed.reason), fault)
    if failed.error in (OptionError, OutputError, UnknownName, MissingExtra):
        return Refusal(400, "unsupported", failed.message)
    return Refusal(500, "processing_failed", "The image could not be processed")


def _invalid(field: str, message: str) -> Refusal:
    return Refusal(422, f"invalid_{field}", message, field=field)


def _responses() -> dict[int | str, dict[str, Any]]:
    """Describe the answers for the schema."""
    body = {"type": "object", "required": ["detail"], "properties": {"detail": {}}}
    meanings = {
        400: "The image cannot be read or fetched.", 403: "The key is missing or unknown.",
        408: "The body came too slowly.", 413: "The image is too large.",
        415: "The content type is not supported.", 422: "A field is missing or invalid.",
        429: "Too many requests.", 500: "The image crashed its worker.",
        503: "The service is shutting down.", 504: "The image was not done in time.",
    }  # fmt: skip
    answers: dict[int | str, dict[str, Any]] = {
        status: {"description": meaning, "content": {"application/json": {"schema": body}}}
        for status, meaning in meanings.items()
    }
    image = {"schema": {"type": "string", "format": "binary"}}
    answers[200] = {"description": "The cut-out, or the mask.", "content": {"image/png": image}}
    return answers


def _describe(*, post: bool) -> dict[str, Any]:
    """Describe the request for the schema."""
    query = [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": meaning}
        for name, (schema, meaning) in PARAMETERS.items()
    ]
    if not post:
        url = {"name": "url", "in": "query", "required": True, "schema": {"type": "string"}}
        return {"parameters": [url, *query]}
    fields = {name: schema | {"description": text} for name, (schema, text) in PARAMETERS.items()}
    fields["file"] = {"type": "string", "format": "binary", "description": "The image."}
    schema = {"type": "object", "required": ["file"], "properties": fields}
    return {
        "parameters": query,
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}},
    }
