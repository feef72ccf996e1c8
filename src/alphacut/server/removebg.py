"""remove.bg's contract, v1.0: its requests as `Options`, cut-outs and errors as its answers."""

import base64
import re
import uuid
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from alphacut import values
from alphacut.errors import OptionError
from alphacut.options import Options
from alphacut.server.body import Fields
from alphacut.server.fetch import BadAddress, FetchDisabled, FetchFailed, TooLarge
from alphacut.server.pool import Reply, WorkFailed
from alphacut.server.refusal import Refusal
from alphacut.server.service import Service, while_connected
from alphacut.server.worker import Task

PREFIXES = ("/v1.0", "/api")
SOURCES = ("image_file", "image_file_b64", "image_url")
BACKGROUNDS = ("bg_color", "bg_image_url", "bg_image_file")
FILES = ("image_file", "image_file_b64", "bg_image_file")

# Largest result in megapixels
SIZES = {
    "preview": 0.25, "small": 0.25, "regular": 0.25, "medium": 1.5, "hd": 4.0, "full": 25.0,
    "4k": 25.0, "50mp": 50.0, "auto": 25.0,
}  # fmt: skip
FORMATS = {"auto": "auto", "png": "png", "jpg": "jpg", "webp": "webp", "zip": "zip"}
MEDIA = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "zip": "application/zip"}
CHANNELS = {"rgba": "cutout", "alpha": "mask"}
# Subjects that clients name, and what X-Type says of them at level 1 and from level 2 on
SUBJECTS = {
    "auto": ("other", "other"), "person": ("person", "person"), "product": ("product", "product"),
    "animal": ("animal", "animal"), "car": ("car", "car"), "other": ("other", "other"),
    "car_interior": ("car", "car_interior"), "car_part": ("car", "car_part"),
    "transportation": ("other", "transportation"), "graphic": ("other", "graphics"),
    "graphics": ("other", "graphics"),
}  # fmt: skip
TYPE_LEVELS = ("none", "1", "2", "latest")
# Its shadows, as the nearest that are drawn here
SHADOWS = {"none": "none", "car": "contact", "3d": "contact", "drop": "drop"}
_AUTO_SHADOW = {"car": "car", "person": "3d", "transportation": "3d"}  # others: drop

# Titles and details of the documented errors; {} is filled in
ERRORS = {
    "missing_source": (
        "No image given",
        "Please provide the source image in the image_url, image_file or image_file_b64 parameter.",
    ),
    "multiple_sources": (
        "Multiple image sources given: Please provide either the image_url, image_file or "
        "image_file_b64 parameter.",
        "",
    ),
    "invalid_image_url": ("Invalid image_url: Please provide a valid URL.", "{}"),
    "failed_image_download": ("Failed to download image from given image_url: {}", ""),
    "failed_to_read_image": ("There was an error reading the image.", "{}"),
    "file_too_large": ("File too large", "File exceeds limit of {}MB"),
    "invalid_file_type": ("Invalid file type", "Expected jpg, png or webp"),
    "invalid_dimensions": (
        "Failed to read image dimensions",
        "The dimensions of the given image could not be read.",
    ),
    "resolution_too_high": ("Image resolution too high", "{}"),
    "invalid_format": ("Invalid format parameter given", "{}"),
    "invalid_roi": ("Invalid roi parameter given", "{}"),
    "roi_exceeds_bounds": (
        "ROI exceeds image bounds",
        "The given roi parameter defines a region that exceeds the image bounds",
    ),
    "roi_region_empty": (
        "ROI region is empty",
        "The given roi parameter defines an empty region",
    ),
    "invalid_crop_margin": ("Invalid crop_margin parameter given", "{}"),
    "invalid_scale": ("Invalid scale parameter given", "{}"),
    "invalid_position": ("Invalid position parameter given", "{}"),
    "invalid_semitransparency": ("Invalid semitransparency parameter given", "{}"),
    "invalid_bg_color": ("Invalid bg_color parameter given", "{}"),
    "invalid_bg_image_url": ("Invalid bg_image_url: Please provide a valid URL.", "{}"),
    "failed_bg_download": ("Failed to download background image from given image_url: {}", ""),
    "multiple_bg_sources": (
        "Multiple background sources given: Please provide either the bg_color, the bg_image_url "
        "or the bg_image_file parameter.",
        "",
    ),
    "unknown_foreground": ("Could not identify foreground in image.", ""),
}

_TEXT = {"type": "string"}
_FILE = {"type": "string", "format": "binary"}
_FLAG = {"type": "boolean"}


def _one_of(known: Any, default: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(known), "default": default}


# Parameter: its schema and meaning
PARAMETERS: dict[str, tuple[dict[str, Any], str]] = {
    "image_file": (_FILE, "Source image, in multipart only."),
    "image_file_b64": (_TEXT, "Source image in base64."),
    "image_url": (_TEXT, "Source image's address, if this service fetches."),
    "size": (
        _one_of((*(name for name in SIZES if name != "50mp"), "50MP"), "preview"),
        "Largest result, by its count of pixels.",
    ),
    "type": (_one_of(SUBJECTS, "auto"), "What the subject is."),
    "type_level": (_one_of(TYPE_LEVELS, "1"), "How fine X-Type answers."),
    "format": (_one_of(FORMATS, "auto"), "zip has color.jpg and alpha.png."),
    "roi": (_TEXT, "Only what is inside 'x1 y1 x2 y2', px or %, can be foreground."),
    "crop": (_FLAG, "Cut off what is empty."),
    "crop_margin": (_TEXT, "Room round the crop: 1, 2 or 4 of px or % of the subject."),
    "scale": (_TEXT, "original, or 10% to 100%: the subject's share of the image."),
    "position": (_TEXT, "original, center, or one or two percentages."),
    "channels": (_one_of(CHANNELS, "rgba"), "alpha returns the mask in grey."),
    "add_shadow": (_FLAG, "The same as shadow_type[car]=car."),
    "shadow_type": (_TEXT, "none, auto, car, 3D or drop."),
    "shadow_opacity": (_TEXT, "auto, or 0 to 100."),
    "shadow_method": (_TEXT, "Ignored, as remove.bg does."),
    "semitransparency": (_FLAG, "Accepted; soft alpha is kept always."),
    "bg_color": (_TEXT, "3, 4, 6 or 8 hex digits, or a colour's name."),
    "bg_image_url": (_TEXT, "Background image's address, if this service fetches."),
    "bg_image_file": (_FILE, "Background image, in multipart only."),
}
_IMPROVE = ("image_file", "image_file_b64", "image_url")


def refuse(code: str, *fill: object, status: int = 400) -> Refusal:
    """Make a refusal of a documented error, or of a parameter that has no documented one."""
    if code in ERRORS:
        title, detail = (text.format(*fill) for text in ERRORS[code])
    else:
        parameter = code.removeprefix("invalid_")
        title, detail = f"Invalid value for parameter '{parameter}'", " ".join(map(str, fill))
    return Refusal(status, code, title, detail)


# --- the routes -------------------------------------------------------------------------------


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
            """Remove the background of a picture."""
            return await _remove(service, request)

        @routes.get(
            f"{prefix}/account",
            operation_id=f"account_{name}",
            responses=_responses("account"),
            openapi_extra=None,
        )
        async def account(request: Request) -> Response:
            """Return the balance, which never ends."""
            service.keys.name_of(request.headers)
            # exactly these keys: the Ruby client passes them on as keyword arguments
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
            """Accept a picture for training, and keep nothing of it."""
            service.keys.name_of(request.headers)
            service.pool.admit()
            _source(await service.read(request, FILES), service.settings.max_body_bytes)
            return JSONResponse({"id": str(uuid.uuid4())})

    return routes


async def _remove(service: Service, request: Request) -> Response:
    """Answer a request to remove a background."""
    name = service.keys.name_of(request.headers)
    await service.allowance.check(name)
    service.pool.admit()
    fields = await service.read(request, FILES)
    most_bytes = service.settings.max_body_bytes
    picture = _source(fields, most_bytes)
    options = translate(fields, service)
    background = fields.bytes_of("bg_image_file")
    if background and len(background) > most_bytes:
        raise refuse("file_too_large", f"{most_bytes / 1e6:g}")

    async def work() -> tuple[Reply, dict[str, str]]:
        image, behind = picture, background
        if image is None:
            image = await _download(service, request, fields, "image_url", "failed_image_download")
        if "bg_image_url" in fields:
            behind = await _download(service, request, fields, "bg_image_url", "failed_bg_download")
        chosen = options.replace(background=behind) if behind else options
        return await service.cut(Task(image, chosen), name)

    try:
        reply, headers = await while_connected(request, work())
    except WorkFailed as failed:
        raise _refusal(failed) from failed
    if reply.facts["empty"]:
        raise refuse("unknown_foreground")
    headers |= _headers(reply, fields)
    if _wants_json(request.headers.get("accept", "")):
        return JSONResponse({"data": _json(reply)}, headers=headers)
    return Response(reply.data, media_type=MEDIA[reply.facts["format"]], headers=headers)


# --- request to options -----------------------------------------------------------------------


def translate(fields: Fields, service: Service) -> Options:
    """Read the fields, except pictures, as `Options`.

    Raises:
        Refusal: 400 with the documented code if a value cannot be.
    """
    subject = _choice(fields, "type", SUBJECTS, "auto")
    _choice(fields, "type_level", TYPE_LEVELS, "1")
    for name in ("semitransparency", "add_shadow", "crop"):
        _flag(fields, name)
    given = [name for name in BACKGROUNDS if name in fields]
    if len(given) > 1:
        raise refuse("multiple_bg_sources")
    kind = FORMATS[_choice(fields, "format", FORMATS, "auto")]
    result = CHANNELS[_choice(fields, "channels", CHANNELS, "rgba")]
    if kind == "zip":
        result = "cutout"  # it has both
    shadow, opacity = _shadow(fields, subject)
    margin = fields.text("crop_margin") or "0"
    chosen: dict[str, Any] = {
        "model": service.default_model,
        "max_megapixels": service.settings.max_megapixels,
        "output_megapixels": SIZES[_choice(fields, "size", SIZES, "preview").lower()],
        "format": kind,
        "keep_depth": False,  # as remove.bg answers
        "result": result,
        "roi": _roi(fields.text("roi")),
        "background": _colour(fields.text("bg_color")),
        "crop": True,
        "margin": margin,
        "scale": fields.text("scale") or "original",
        "position": fields.text("position") or "original",
        "shadow": shadow,
        "shadow_opacity": opacity,
    }
    try:
        options = Options(**chosen)
    except OptionError as error:
        code = {"margin": "crop_margin"}.get(error.option, error.option)
        raise refuse(f"invalid_{code}", error.advice) from error
    return options if _flag(fields, "crop") else options.replace(crop=False, margin="0")


def _choice(fields: Fields, name: str, known: Any, default: str) -> str:
    """Read a parameter that is one of several words."""
    text = fields.text(name) or default
    if text not in known and text.lower() not in known:
        raise refuse(f"invalid_{name}", f"Choose one of {', '.join(known)}")
    return text if text in known else text.lower()


def _flag(fields: Fields, name: str) -> bool:
    """Read a parameter that is true or false."""
    text = (fields.text(name) or "false").lower()
    if text not in ("true", "false", "1", "0"):
        raise refuse(f"invalid_{name}", "Choose true or false")
    return text in ("true", "1")


def _colour(text: str | None) -> str | None:
    """Read a colour, and write it so that it can be nothing else, least of all a path."""
    if text is None:
        return None
    found = values.find_colour(text)
    if found is None:
        raise refuse("invalid_bg_color", "Give 3, 4, 6 or 8 hex digits, or a colour's name")
    return "#" + bytes(found).hex()


def _roi(text: str | None) -> str | None:
    """Read a region, as far as that is possible without its picture."""
    if text is None:
        return None
    try:
        left, top, right, bottom = values.parse_region(text)
    except OptionError as error:
        raise refuse("invalid_roi", error.advice) from error
    for near, far in ((left, right), (top, bottom)):
        if any(length.percent and length.number > 100 for length in (near, far)):
            raise refuse("roi_exceeds_bounds")
        if near.number >= far.number and (near.percent == far.percent or not far.number):
            raise refuse("roi_region_empty")
    whole = not (left.number or top.number) and right.percent and bottom.percent
    return None if whole and right.number == bottom.number == 100 else text


def _shadow(fields: Fields, subject: str) -> tuple[str, float]:
    """Choose the shadow of a subject, and its darkness."""
    subject = {"graphics": "graphic", "auto": "other"}.get(subject, subject)
    named = {kind.lower(): what.lower() for kind, what in fields.keyed("shadow_type").items()}
    plain = None if named else (fields.text("shadow_type") or "").lower() or None
    if plain is None and not named and _flag(fields, "add_shadow"):
        named = {"car": "car"}
    for what in (*named.values(), plain):
        if what not in (None, "auto", *SHADOWS):
            raise refuse("invalid_shadow_type", "Choose none, auto, car, 3D or drop")
    wanted = plain or named.get(subject, "none")
    if wanted == "auto":
        wanted = _AUTO_SHADOW.get(subject, "drop")
    keyed = fields.keyed("shadow_opacity")
    opacity = keyed.get(subject) if keyed else fields.text("shadow_opacity")
    for text in (*keyed.values(), opacity or "auto"):
        if text != "auto" and not re.fullmatch(r"\d{1,2}(\.\d*)?|100(\.0*)?", text):
            raise refuse("invalid_shadow_opacity", "Give auto, or 0 to 100")
    if opacity in (None, "auto"):
        return SHADOWS[wanted], 90.0 if wanted == "car" else 50.0
    return SHADOWS[wanted], float(str(opacity))


def _source(fields: Fields, most_bytes: int) -> bytes | None:
    """Return the picture that a request brings; None if it names an address."""
    given = [name for name in SOURCES if name in fields]
    if not given:
        raise refuse("missing_source")
    if len(given) > 1:
        raise refuse("multiple_sources")
    if given == ["image_url"]:
        return None
    try:
        picture = (
            fields.take_base64(given[0]) if given[0].endswith("b64") else fields.bytes_of(given[0])
        )
    except ValueError as error:
        raise refuse("failed_to_read_image", "image_file_b64 is no base64.") from error
    if not picture:
        raise refuse("failed_to_read_image", "It is empty.")
    if len(picture) > most_bytes:
        raise refuse("file_too_large", f"{most_bytes / 1e6:g}")
    return picture


async def _download(
    service: Service, request: Request, fields: Fields, name: str, failure: str
) -> bytes:
    """Fetch a picture whose address a request names."""
    url = fields.text(name) or ""
    try:
        return await service.fetch(request, url)
    except FetchDisabled as error:
        advice = "This service fetches no pictures: it was started without --allow-url."
        raise refuse(f"invalid_{name}", advice) from error
    except BadAddress as error:
        raise refuse(f"invalid_{name}", "") from error
    except TooLarge as error:
        most = f"{service.settings.max_body_bytes / 1e6:g}"
        raise refuse("file_too_large", most) from error
    except FetchFailed as error:
        raise refuse(failure, url[:200]) from error


# --- reply to answer --------------------------------------------------------------------------


def _wants_json(accept: str) -> bool:
    """Tell whether only JSON will do: axios names it too, and wants the picture."""
    ranges = {}
    for part in accept.lower().split(","):
        kind, _, parameters = part.partition(";")
        ranges[kind.strip()] = not re.search(r"q=0(\.0*)?\s*(;|$)", parameters.strip())
    accepted = {kind for kind, yes in ranges.items() if yes}
    pictures = any(kind == "*/*" or kind.startswith("image/") for kind in accepted)
    return not pictures and bool(accepted & {"application/json", "application/*"})


def _json(reply: Reply) -> dict[str, Any]:
    """Return the body's data of an answer in JSON."""
    top, left, bottom, right = reply.facts["box"]
    return {
        "result_b64": base64.b64encode(reply.data).decode(),
        "foreground_top": top,
        "foreground_left": left,
        "foreground_width": right - left,
        "foreground_height": bottom - top,
    }


def _headers(reply: Reply, fields: Fields) -> dict[str, str]:
    """Return the contract's own headers."""
    facts = reply.facts
    top, left, bottom, right = facts["box"]
    (H, W), (most_H, most_W) = facts["size"], facts["input_size"]
    numbers = {
        "X-Width": W, "X-Height": H, "X-Max-Width": most_W, "X-Max-Height": most_H,
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
    """Word a refusal as this contract does."""
    status = {("file_too_large", 413): 400}.get((refusal.code, refusal.status), refusal.status)
    error = {"title": refusal.title, "code": refusal.code, "detail": refusal.detail}
    body = {"errors": [{name: text for name, text in error.items() if text}]}
    return JSONResponse(body, status, refusal.headers, media_type="application/json; charset=utf-8")


def _refusal(failed: WorkFailed) -> Refusal:
    """Read a worker's error as this contract's."""
    error, message = failed.facts["error"], failed.facts["message"]
    if error == "ImageError":
        code = {
            "not_a_picture": "invalid_file_type",
            "no_size": "invalid_dimensions",
            "too_large": "resolution_too_high",
        }.get(failed.facts["reason"], "failed_to_read_image")
        return refuse(code, message)
    if error == "OptionError" and failed.facts["option"] == "roi":
        return refuse("roi_region_empty" if "empty" in message else "roi_exceeds_bounds")
    if error == "OptionError":
        return refuse(f"invalid_{failed.facts['option']}", message)
    if error == "OutputError":
        return refuse("invalid_format", message)
    if error == "MissingExtra":
        return refuse("invalid_file_type")
    return Refusal(500, "processing_failed", "The picture could not be worked on")


# --- description ------------------------------------------------------------------------------


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
                    "properties": {"title": _TEXT, "code": _TEXT, "detail": _TEXT},
                },
            }
        },
    }
    meanings = {
        400: "A parameter or the picture is wrong; `code` says what.",
        403: "The key is missing or unknown.", 408: "The body came too slowly.",
        415: "The body is of another kind.", 429: "Too many requests, or too many megapixels.",
        500: "The picture broke its worker.", 503: "The service is going down.",
        504: "The picture was not done in time.",
    }  # fmt: skip
    if what == "account":
        meanings = {403: meanings[403]}
    answers: dict[int | str, dict[str, Any]] = {
        status: {"description": meaning, "content": {"application/json": {"schema": error}}}
        for status, meaning in meanings.items()
    }
    content: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if what == "removebg":
        content |= {media: {"schema": _FILE} for media in MEDIA.values()}
    answers[200] = {"description": "Done.", "content": content}
    return answers


def _describe(names: tuple[str, ...]) -> dict[str, Any]:
    """Describe the request for the schema."""
    known = {
        name: schema | {"description": meaning}
        for name, (schema, meaning) in PARAMETERS.items()
        if name in names
    }
    fields = {name: known.get(name, _TEXT) for name in names}
    plain = {name: schema for name, schema in fields.items() if schema.get("format") != "binary"}
    content = {
        "multipart/form-data": {"schema": {"type": "object", "properties": fields}},
        "application/x-www-form-urlencoded": {"schema": {"type": "object", "properties": plain}},
        "application/json": {"schema": {"type": "object", "properties": plain}},
    }
    return {"requestBody": {"required": True, "content": content}}
