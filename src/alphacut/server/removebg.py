"""remove.bg's API v1.0: its routes and answers. `removebg_fields` reads its parameters."""

import base64
import re
import uuid
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from alphacut.errors import ImageError, MissingExtra, OptionError, OutputError
from alphacut.server import worker
from alphacut.server.body import Fields
from alphacut.server.fetch import BadAddress, FetchDisabled, FetchFailed, TooLarge
from alphacut.server.pool import Reply, RequestFailed
from alphacut.server.refusal import Refusal, image_fault
from alphacut.server.removebg_errors import refuse, refuse_parameter
from alphacut.server.removebg_fields import (
    FILE,
    FILES,
    PARAMETERS,
    SUBJECTS,
    TEXT,
    take_source,
    translate,
)
from alphacut.server.service import Service, while_connected

PREFIXES = ("/v1.0", "/api")
MEDIA = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "zip": "application/zip"}
_IMPROVE = ("image_file", "image_file_b64", "image_url")


def router(service: Service) -> APIRouter:
    """Return the routes of this contract, under both prefixes."""
    routes = APIRouter(tags=["remove.bg"])
    for prefix in PREFIXES:
        name = prefix.strip("/").replace(".", "_")

        @routes.post(
            f"{prefix}/removebg",
            operation_id=f"removebg_{name}",
            responses=_responses("removebg"),
            openapi_extra=_describe(tuple(PARAMETERS)),
        )
        async def removebg(request: Request) -> Response:
            """Remove the background of an image."""
            return await _remove(service, request)

        @routes.get(
            f"{prefix}/account",
            operation_id=f"account_{name}",
            responses=_responses("account"),
            openapi_extra=None,
        )
        async def account(request: Request) -> Response:
            """Return the balance, which never runs out."""
            service.keys.name_of(request.headers)
            # these keys exactly: the Ruby client passes them on as keyword arguments
            plenty = 1_000_000
            credits = {"subscription": 0, "payg": 0, "enterprise": plenty, "total": plenty}
            api = {"free_calls": plenty, "sizes": "all"}
            return JSONResponse({"data": {"attributes": {"credits": credits, "api": api}}})

        @routes.post(
            f"{prefix}/improve",
            operation_id=f"improve_{name}",
            responses=_responses("improve"),
            openapi_extra=_describe((*_IMPROVE, "image_filename", "tag")),
        )
        async def improve(request: Request) -> Response:
            """Accept an image for training, and keep nothing of it."""
            service.keys.name_of(request.headers)
            service.pool.admit()
            take_source(await service.read(request, FILES), service.settings.max_body_bytes)
            return JSONResponse({"id": str(uuid.uuid4())})

    return routes


async def _remove(service: Service, request: Request) -> Response:
    """Answer a request to remove a background."""
    name = await service.admit(request)
    fields = await service.read(request, FILES)
    max_bytes = service.settings.max_body_bytes
    source = take_source(fields, max_bytes)
    options = translate(
        fields,
        model=service.default_model,
        max_megapixels=service.settings.max_megapixels,
        metadata=service.settings.metadata,
    )
    uploaded = fields.bytes_of("bg_image_file")
    if any(len(each) > max_bytes for each in (uploaded, options.pair, options.plate)
           if isinstance(each, bytes)):  # fmt: skip
        raise refuse("file_too_large", f"{max_bytes / 1e6:g}")

    async def work() -> tuple[Reply, dict[str, str]]:
        image, background = source, uploaded
        if image is None:
            image = await _download(service, request, fields, "image_url", "failed_image_download")
        if "bg_image_url" in fields:
            background = await _download(
                service, request, fields, "bg_image_url", "failed_bg_download"
            )
        chosen = options.replace(background=background) if background else options
        return await service.cut_out(worker.Request(image, chosen), name)

    try:
        reply, headers = await while_connected(request, work())
    except RequestFailed as failed:
        raise _refusal(failed, service) from failed
    if reply.facts["empty"]:
        raise refuse("unknown_foreground")
    headers |= _headers(reply, fields)
    if _wants_json(request.headers.get("accept", "")):
        return JSONResponse({"data": _json(reply)}, headers=headers)
    return Response(reply.data, media_type=MEDIA[reply.facts["format"]], headers=headers)


async def _download(
    service: Service, request: Request, fields: Fields, name: str, failure: str
) -> bytes:
    """Fetch an image whose address a request names."""
    url = fields.text(name) or ""
    try:
        return await service.fetch(request, url)
    except FetchDisabled as error:
        advice = "This service does not fetch images: it was started without --allow-url."
        raise refuse_parameter(name, advice) from error
    except BadAddress as error:
        raise refuse_parameter(name) from error
    except TooLarge as error:
        limit = f"{service.settings.max_body_bytes / 1e6:g}"
        raise refuse("file_too_large", limit) from error
    except FetchFailed as error:
        raise refuse(failure, url[:200]) from error


def _wants_json(accept: str) -> bool:
    """Tell whether only JSON will do: axios names it as well, yet wants the image."""
    ranges = {}
    for part in accept.lower().split(","):
        kind, _, parameters = part.partition(";")
        ranges[kind.strip()] = not re.search(r"q=0(\.0*)?\s*(;|$)", parameters.strip())
    accepted = {kind for kind, yes in ranges.items() if yes}
    images = any(kind == "*/*" or kind.startswith("image/") for kind in accepted)
    return not images and bool(accepted & {"application/json", "application/*"})


def _json(reply: Reply) -> dict[str, Any]:
    """Return what an answer in JSON has as its data."""
    left, top, right, bottom = reply.facts["box"]
    return {
        "result_b64": base64.b64encode(reply.data).decode(),
        "foreground_top": top,
        "foreground_left": left,
        "foreground_width": right - left,
        "foreground_height": bottom - top,
    }


def _headers(reply: Reply, fields: Fields) -> dict[str, str]:
    """Return the headers of this contract."""
    facts = reply.facts
    left, top, right, bottom = facts["box"]
    (H, W), (max_H, max_W) = facts["size"], facts["input_size"]
    numbers = {
        "X-Width": W, "X-Height": H, "X-Max-Width": max_W, "X-Max-Height": max_H,
        "X-Foreground-Top": top, "X-Foreground-Left": left,
        "X-Foreground-Width": right - left, "X-Foreground-Height": bottom - top,
        "X-Credits-Charged": 0,
    }  # fmt: skip
    headers = {name: str(number) for name, number in numbers.items()}
    level = fields.text("type_level") or "1"
    if level != "none":
        coarse, fine = SUBJECTS[(fields.text("type") or "auto").lower()]
        headers["X-Type"] = coarse if level == "1" else fine
    return headers


def answer(refusal: Refusal) -> Response:
    """Word a refusal in this contract."""
    status = 400 if refusal.status == 413 else refusal.status
    error = {"title": refusal.title, "code": refusal.code, "detail": refusal.detail}
    body = {"errors": [{name: text for name, text in error.items() if text}]}
    return JSONResponse(body, status, refusal.headers, media_type="application/json; charset=utf-8")


def _refusal(failed: RequestFailed, service: Service) -> Refusal:
    """Word a worker's error in this contract."""
    if failed.error is ImageError:
        code = {
            "not_a_picture": "invalid_file_type",
            "no_size": "invalid_dimensions",
            "too_large": "resolution_too_high",
        }.get(failed.reason or "", "failed_to_read_image")
        return refuse(code, image_fault(failed.reason, service.settings.max_megapixels))
    if failed.error is OptionError and failed.option == "roi":
        return refuse("roi_region_empty" if failed.reason == "empty" else "roi_exceeds_bounds")
    if failed.error is OptionError:
        return refuse_parameter(str(failed.option), failed.advice)
    if failed.error is OutputError:
        return refuse("invalid_format", failed.message)
    if failed.error is MissingExtra:
        return refuse("invalid_file_type")
    return Refusal(500, "processing_failed", "The image could not be processed")


# --- the schema -------------------------------------------------------------------------------


def _responses(what: str) -> dict[int | str, dict[str, Any]]:
    """Describe the answers for the schema."""
    error = {
        "type": "object",
        "required": ["errors"],
        "properties": {
            "errors": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["title", "code"],
                    "properties": {"title": TEXT, "code": TEXT, "detail": TEXT},
                },
            }
        },
    }
    meanings = {
        400: "A parameter or the image is invalid; `code` says what.",
        403: "The key is missing or unknown.", 408: "The body came too slowly.",
        415: "The content type is not supported.", 429: "Too many requests or megapixels.",
        500: "The image crashed its worker.", 503: "The service is shutting down.",
        504: "The image was not done in time.",
    }  # fmt: skip
    if what == "account":
        meanings = {403: meanings[403]}
    answers: dict[int | str, dict[str, Any]] = {
        status: {"description": meaning, "content": {"application/json": {"schema": error}}}
        for status, meaning in meanings.items()
    }
    content: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if what == "removebg":
        content |= {media: {"schema": FILE} for media in MEDIA.values()}
    answers[200] = {"description": "Done.", "content": content}
    return answers


def _describe(names: tuple[str, ...]) -> dict[str, Any]:
    """Describe the request for the schema."""
    known = {
        name: schema | {"description": meaning}
        for name, (schema, meaning) in PARAMETERS.items()
        if name in names
    }
    fields = {name: known.get(name, TEXT) for name in names}
    plain = {name: schema for name, schema in fields.items() if schema.get("format") != "binary"}
    content = {
        "multipart/form-data": {"schema": {"type": "object", "properties": fields}},
        "application/x-www-form-urlencoded": {"schema": {"type": "object", "properties": plain}},
        "application/json": {"schema": {"type": "object", "properties": plain}},
    }
    return {"requestBody": {"required": True, "content": content}}
