"""remove.bg's contract against a live service."""

import base64
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image
import pytest
from live import KEY, NOISE, PHOTO, Live, encode, gradient, opened

B64 = base64.b64encode(PHOTO).decode()
AUTH = {"X-Api-Key": KEY}
PATH = "/v1.0/removebg"


def test_a_picture_comes_back_cut_out(live: Live) -> None:
    answer = live.removebg(image_file=PHOTO)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    picture = opened(answer.content)
    assert picture.mode == "RGBA"
    assert picture.size == (400, 300)
    pixels = np.asarray(picture)
    assert pixels[0, 0].tolist() == [0, 0, 0, 0]
    assert pixels[150, 200, 3] == 255
    np.testing.assert_allclose(pixels[150, 200, :3], gradient()[150, 200], atol=3)


@pytest.mark.parametrize(
    "fields", [{}, {"format": "jpg"}, {"format": "zip"}, {"channels": "alpha"}]
)
def test_no_thumbnail_of_the_background_in_any_answer(live: Live, fields: dict[str, str]) -> None:
    exif = PIL.Image.Exif()
    exif[0x013B] = "Ada"
    exif[0xC4A5] = exif.get_ifd(0x8769)[0x927C] = b"thumbnail of the whole scene"
    exif[0x8769] = exif.get_ifd(0x8769)
    photo = encode(gradient(), "JPEG", exif=exif)
    assert photo.count(b"whole scene") == 2
    for answer in (
        live.removebg(image_file=photo, **fields),
        live.client.post("/api/remove", files={"file": photo}, headers=AUTH),
    ):
        assert answer.status_code == 200
        assert b"whole scene" not in answer.content
        assert (b"Ada" in answer.content) or fields


def test_headers(live: Live) -> None:
    answer = live.removebg(image_file=PHOTO, size="auto")
    expected = {
        "X-Width": "400", "X-Height": "300", "X-Max-Width": "400", "X-Max-Height": "300",
        "X-Credits-Charged": "0", "X-Type": "other", "X-RateLimit-Limit": "100000",
        "X-Content-Type-Options": "nosniff",
    }  # fmt: skip
    assert 0 <= float(answer.headers["X-Alphacut-Doubt"]) <= 1
    assert {name: answer.headers[name] for name in expected} == expected
    left, width = (int(answer.headers[f"X-Foreground-{name}"]) for name in ("Left", "Width"))
    assert abs(left - 40) < 8
    assert abs(width - 320) < 15
    assert int(answer.headers["X-RateLimit-Remaining"]) < 100_000
    assert int(answer.headers["X-RateLimit-Reset"]) > 1_700_000_000
    assert answer.headers["X-Request-Id"]


@pytest.mark.parametrize("prefix", ["/v1.0", "/api"])
@pytest.mark.parametrize(
    "request_",
    [
        {"files": {"image_file": ("a.jpg", PHOTO)}},
        {"data": {"image_file_b64": B64}},
        {"json": {"image_file_b64": f"data:image/jpeg;base64,{B64}", "crop": False}},
        {
            "content": json.dumps({"image_file_b64": B64, "size": "preview"}),
            "headers": {"Content-Type": "application/json; charset=utf-8"},
        },
        {
            "content": f"image_file_b64={B64.replace('+', '%2B')}&crop=&bg_color=",
            "headers": {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"},
        },
    ],
    ids=["multipart", "form", "json", "json-charset", "form-charset"],
)
def test_every_kind_of_body(live: Live, prefix: str, request_: dict[str, Any]) -> None:
    request_ = dict(request_)
    headers = {**AUTH, **request_.pop("headers", {})}
    answer = live.client.post(f"{prefix}/removebg", headers=headers, **request_)
    assert answer.status_code == 200, answer.text
    assert opened(answer.content).size == (400, 300)


def test_a_part_needs_no_file_name_and_no_type(live: Live) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="image_file"\r\n'
        b"Content-Transfer-Encoding: binary\r\n\r\n" + PHOTO + b"\r\n--b--\r\n"
    )
    headers = {**AUTH, "Content-Type": "multipart/form-data; boundary=b"}
    assert live.client.post(PATH, content=body, headers=headers).status_code == 200


def test_empty_strings_are_absent(live: Live) -> None:
    names = ("type_level", "format", "roi", "crop", "crop_margin", "scale", "position",
             "add_shadow", "semitransparency", "bg_color", "image_url", "bg_image_url")  # fmt: skip
    empty = dict.fromkeys(names, "")
    answer = live.removebg(image_file=PHOTO, size="auto", type="auto", channels="rgba", **empty)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("accept", "json_wanted"),
    [
        (None, False),
        ("*/*", False),
        ("image/*", False),
        ("image/png", False),
        ("application/json", True),
        ("application/json;q=0.9", True),
        ("text/plain, application/json", True),
        ("application/json, text/plain, */*", False),
        ("application/json, image/png", False),
        ("application/json, */*;q=0", True),
    ],
)
def test_accept(live: Live, accept: str | None, json_wanted: bool) -> None:
    headers = {**AUTH} | ({"Accept": accept} if accept else {})
    request = live.client.build_request("POST", PATH, files={"image_file": PHOTO}, headers=headers)
    if accept is None:
        del request.headers["accept"]
    answer = live.client.send(request)
    assert answer.status_code == 200
    assert answer.headers["X-Width"] == "400"
    assert answer.headers["X-Credits-Charged"] == "0"
    if json_wanted:
        assert answer.headers["content-type"] == "application/json"
        data = answer.json()["data"]
        assert opened(base64.b64decode(data["result_b64"])).size == (400, 300)
        assert {name for name in data if name != "result_b64"} == {
            "foreground_top", "foreground_left", "foreground_width", "foreground_height",
        }  # fmt: skip
    else:
        assert answer.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("size", "H", "W"),
    [
        (None, 353, 707), ("preview", 353, 707), ("small", 353, 707), ("regular", 353, 707),
        ("medium", 866, 1732), ("hd", 1000, 2000), ("full", 1000, 2000), ("4k", 1000, 2000),
        ("50MP", 1000, 2000), ("auto", 1000, 2000),
    ],
)  # fmt: skip
def test_sizes_limit_the_count_of_pixels(live: Live, size: str | None, H: int, W: int) -> None:
    large = encode(gradient(1000, 2000), "JPEG", quality=70)
    fields = {"size": size} if size else {}
    answer = live.removebg(image_file=large, format="jpg", **fields)
    assert opened(answer.content).size == (W, H)
    assert (answer.headers["X-Width"], answer.headers["X-Height"]) == (str(W), str(H))
    assert (answer.headers["X-Max-Width"], answer.headers["X-Max-Height"]) == ("2000", "1000")


@pytest.mark.parametrize(
    ("fields", "media", "kind", "mode"),
    [
        ({}, "image/png", "PNG", "RGBA"),
        ({"format": "png"}, "image/png", "PNG", "RGBA"),
        ({"format": "webp"}, "image/webp", "WEBP", "RGBA"),
        ({"format": "jpg"}, "image/jpeg", "JPEG", "RGB"),
        ({"bg_color": "fff"}, "image/jpeg", "JPEG", "RGB"),
        ({"bg_color": "fff", "format": "png"}, "image/png", "PNG", "RGB"),
        ({"bg_color": "81D4FA77"}, "image/png", "PNG", "RGBA"),
        ({"channels": "alpha"}, "image/png", "PNG", "L"),
        ({"channels": "alpha", "format": "jpg"}, "image/jpeg", "JPEG", "L"),
    ],
)
def test_formats(live: Live, fields: dict[str, str], media: str, kind: str, mode: str) -> None:
    answer = live.removebg(image_file=PHOTO, **fields)
    assert answer.headers["content-type"] == media
    picture = opened(answer.content)
    assert (picture.format, picture.mode) == (kind, mode)


@pytest.mark.parametrize("fields", [{}, {"crop": "true", "crop_margin": "10px"}, {"scale": "50%"}])
def test_zip(live: Live, fields: dict[str, str]) -> None:
    rgba = np.dstack([gradient(), np.full((300, 400), 255, np.uint8)])
    for picture in (PHOTO, encode(rgba)):
        answer = live.removebg(image_file=picture, format="zip", **fields)
        assert answer.headers["content-type"] == "application/zip"
        archive = zipfile.ZipFile(io.BytesIO(answer.content))
        assert archive.namelist() == ["color.jpg", "alpha.png"]
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        colour, alpha = (opened(archive.read(name)) for name in archive.namelist())
        assert (colour.format, colour.mode) == ("JPEG", "RGB")
        assert (alpha.format, alpha.mode) == ("PNG", "L")
        assert colour.size == alpha.size
        assert str(colour.size[0]) == answer.headers["X-Width"]
        if not fields:  # what is cut off keeps its colours, as remove.bg's zip does
            corner = np.asarray(colour)[5, 5].astype(int)
            np.testing.assert_allclose(corner, gradient()[5, 5], atol=6)


@pytest.mark.parametrize(
    ("colour", "rgb"),
    [
        ("green", (0, 128, 0)),
        ("#ff0000", (255, 0, 0)),
        ("0f0", (0, 255, 0)),
        ("81D4FA", (129, 212, 250)),
    ],
)
def test_bg_color(live: Live, colour: str, rgb: tuple[int, int, int]) -> None:
    answer = live.removebg(image_file=PHOTO, bg_color=colour, format="png")
    assert opened(answer.content).getpixel((0, 0)) == rgb


def test_bg_image(live: Live, pictures: str) -> None:
    blue = encode(np.full((50, 20, 3), (0, 0, 250), np.uint8))
    answer = live.removebg(image_file=PHOTO, bg_image_file=blue, format="png")
    assert opened(answer.content).getpixel((0, 0)) == (0, 0, 250)
    url = f"http://{pictures}/photo.jpg"
    answer = live.removebg(image_file=PHOTO, bg_image_url=url, format="png")
    np.testing.assert_allclose(opened(answer.content).getpixel((3, 3)), gradient()[3, 3], atol=4)


def test_crop_and_margin(live: Live) -> None:
    plain = live.removebg(image_file=PHOTO, crop="true")
    W, H = opened(plain.content).size
    assert abs(W - 320) < 12
    assert abs(H - 240) < 12
    margins = live.removebg(image_file=PHOTO, crop="true", crop_margin="10px 20px")
    assert opened(margins.content).size == (W + 40, H + 20)
    four = live.removebg(image_file=PHOTO, crop=True, crop_margin="1 2px 3px 4px")
    assert opened(four.content).size == (W + 6, H + 4)


def test_scale_and_position(live: Live) -> None:
    answer = live.removebg(image_file=PHOTO, scale="50%", position="0% 100%")
    assert opened(answer.content).size == (400, 300)
    head = answer.headers
    assert int(head["X-Foreground-Left"]) < 3
    bottom = int(head["X-Foreground-Top"]) + int(head["X-Foreground-Height"])
    assert abs(bottom - 300) < 3
    assert abs(int(head["X-Foreground-Height"]) - 150) < 5
    centred = live.removebg(image_file=PHOTO, scale="50%").headers
    assert abs(int(centred["X-Foreground-Top"]) - 75) < 4


def test_roi_is_measured_on_the_whole_picture(live: Live) -> None:
    large = encode(gradient(1000, 2000), "JPEG", quality=70)
    answer = live.removebg(image_file=large, roi="0 0 1000px 100%")  # at preview, 354 of 707
    head = answer.headers
    right = int(head["X-Foreground-Left"]) + int(head["X-Foreground-Width"])
    assert abs(right - 354) <= 1
    assert live.removebg(image_file=PHOTO, roi="0 0 100% 100%").status_code == 200


def test_points_and_boxes_choose_and_roi_only_limits(live: Live) -> None:
    """The network finds a disc in the middle of whatever it looks at."""
    fields = {"image_file": PHOTO, "channels": "alpha"}
    box, point, roi = (
        np.asarray(opened(live.removebg(**fields, **chosen).content))
        for chosen in ({"box": "0 0 100px 100px"}, {"points": "300 200"}, {"roi": "0 0 50% 100%"})
    )
    assert (box[50, 50], box[:, 100:].max(), box[100:].max()) == (255, 0, 0)
    assert (point[200, 300], point[:, :200].max()) == (255, 0)
    assert (roi[150, 190], roi[150, 210], roi[150, 20]) == (255, 0, 0)  # of the picture's own disc


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({}, "other"),
        ({"type": "person"}, "person"),
        ({"type": "graphic"}, "other"),
        ({"type": "graphic", "type_level": "2"}, "graphics"),
        ({"type": "car_interior", "type_level": "latest"}, "car_interior"),
        ({"type_level": "none"}, None),
    ],
)
def test_type(live: Live, fields: dict[str, str], kind: str | None) -> None:
    assert live.removebg(image_file=PHOTO, **fields).headers.get("X-Type") == kind


def test_type_level_may_be_a_number(live: Live) -> None:
    body = {"image_file_b64": B64, "type": "graphic", "type_level": 2, "crop": False}
    answer = live.client.post(PATH, json=body, headers=AUTH)
    assert answer.headers["X-Type"] == "graphics"


@pytest.mark.parametrize(
    ("fields", "shadow"),
    [
        ({"shadow_type": "drop"}, True),
        ({"shadow_type": "3D", "shadow_opacity": "80"}, True),
        ({"shadow_type": "auto"}, True),
        ({"shadow_type": "none"}, False),
        ({"shadow_type[car]": "car"}, False),
        ({"shadow_type[car]": "car", "type": "car", "shadow_opacity[car]": "90"}, True),
        ({"add_shadow": "true"}, False),
        ({"add_shadow": "true", "type": "car"}, True),
        ({"shadow_method": "legacy"}, False),
    ],
)
def test_shadow(live: Live, fields: dict[str, str], shadow: bool) -> None:
    plain = np.asarray(opened(live.removebg(image_file=PHOTO).content))
    answer = live.removebg(image_file=PHOTO, **fields)
    assert answer.status_code == 200, answer.text
    assert shadow != np.array_equal(np.asarray(opened(answer.content)), plain)


# --- errors -----------------------------------------------------------------------------------


def flat_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is large."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
            + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))  # fmt: skip


ERRORS: list[tuple[str, dict[str, Any]]] = [
    ("missing_source", {}),
    ("missing_source", {"image_url": ""}),
    ("multiple_sources", {"image_file": PHOTO, "image_url": "http://example.com/a.jpg"}),
    ("invalid_image_url", {"image_url": "file:///etc/passwd"}),
    ("invalid_image_url", {"image_url": "nonsense"}),
    ("invalid_image_url", {"image_url": "http://user:pass@example.com/"}),
    ("failed_image_download", {"image_url": "http://{pictures}/nothing"}),
    ("failed_image_download", {"image_url": "http://127.0.0.1/photo.jpg"}),
    ("failed_to_read_image", {"image_file": PHOTO[:2000]}),
    ("failed_to_read_image", {"image_file_b64": "%%%"}),
    ("file_too_large", {"image_file": bytes(3_000_001)}),
    ("file_too_large", {"image_file": bytes(8_000_000)}),
    ("invalid_file_type", {"image_file": b"\x00\x00\x00\x18ftypmp42 this is a film"}),
    ("invalid_file_type", {"image_url": "http://{pictures}/page.html"}),
    ("invalid_dimensions", {"image_file": flat_png(0, 10)}),
    ("resolution_too_high", {"image_file": flat_png(10_000, 10_000)}),
    ("invalid_size", {"image_file": PHOTO, "size": "huge"}),
    ("invalid_channels", {"image_file": PHOTO, "channels": "red"}),
    ("invalid_format", {"image_file": PHOTO, "format": "gif"}),
    ("invalid_roi", {"image_file": PHOTO, "roi": "1 2 3"}),
    ("invalid_roi", {"image_file": PHOTO, "roi": "-5px 0 10px 10px"}),
    ("roi_exceeds_bounds", {"image_file": PHOTO, "roi": "0 0 401px 100%"}),
    ("roi_exceeds_bounds", {"image_file": PHOTO, "roi": "0 0 120% 100%"}),
    ("roi_region_empty", {"image_file": PHOTO, "roi": "50% 0 50% 100%"}),
    ("roi_region_empty", {"image_file": PHOTO, "roi": "300px 0 50% 100%"}),
    ("invalid_points", {"image_file": PHOTO, "points": "10"}),
    ("invalid_points", {"image_file": PHOTO, "points": "401 10"}),
    ("invalid_points", {"image_file": PHOTO, "points": "1 1;" * 200}),
    ("invalid_box", {"image_file": PHOTO, "box": "a b c d"}),
    ("invalid_box", {"image_file": PHOTO, "box": "9 9 9 50"}),
    ("unknown_foreground", {"image_file": PHOTO, "points": "50% 50% drop"}),
    ("invalid_crop_margin", {"image_file": PHOTO, "crop": "true", "crop_margin": "wide"}),
    ("invalid_crop_margin", {"image_file": PHOTO, "crop": "true", "crop_margin": "51%"}),
    ("invalid_crop_margin", {"image_file": PHOTO, "crop_margin": "1 2 3"}),
    ("invalid_scale", {"image_file": PHOTO, "scale": "5%"}),
    ("invalid_scale", {"image_file": PHOTO, "scale": "big"}),
    ("invalid_position", {"image_file": PHOTO, "position": "101%"}),
    ("invalid_semitransparency", {"image_file": PHOTO, "semitransparency": "maybe"}),
    ("invalid_bg_color", {"image_file": PHOTO, "bg_color": "/etc/passwd"}),
    ("invalid_bg_color", {"image_file": PHOTO, "bg_color": "12345"}),
    ("invalid_bg_color", {"image_file": PHOTO, "bg_color": "blur:5"}),
    ("invalid_bg_image_url", {"image_file": PHOTO, "bg_image_url": "ftp://example.com/a.jpg"}),
    ("failed_bg_download", {"image_file": PHOTO, "bg_image_url": "http://{pictures}/nothing"}),
    ("failed_to_read_image", {"image_file": PHOTO, "bg_image_file": b"no picture"}),
    ("multiple_bg_sources", {"image_file": PHOTO, "bg_color": "red", "bg_image_file": PHOTO}),
    ("unknown_foreground", {"image_file": NOISE}),
    ("invalid_type", {"image_file": PHOTO, "type": "spaceship"}),
    ("invalid_type_level", {"image_file": PHOTO, "type_level": "3"}),
    ("invalid_crop", {"image_file": PHOTO, "crop": "maybe"}),
    ("invalid_add_shadow", {"image_file": PHOTO, "add_shadow": "maybe"}),
    ("invalid_shadow_type", {"image_file": PHOTO, "shadow_type": "long"}),
    ("invalid_shadow_opacity", {"image_file": PHOTO, "shadow_opacity": "101"}),
]  # fmt: skip


@pytest.mark.parametrize(("code", "fields"), ERRORS, ids=lambda value: str(value)[:40])
def test_every_documented_error(
    live: Live, pictures: str, code: str, fields: dict[str, Any]
) -> None:
    fields = {
        name: value.format(pictures=pictures) if name.endswith("url") else value
        for name, value in fields.items()
    }
    answer = live.removebg(**fields)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    errors = answer.json()["errors"]
    assert [error["code"] for error in errors] == [code]
    assert errors[0]["title"]
    assert "detail" not in errors[0] or errors[0]["detail"]
    assert "Traceback" not in answer.text


def test_every_documented_code_is_in_the_table() -> None:
    from alphacut.server import removebg_errors

    assert set(removebg_errors.ERRORS) <= {code for code, _ in ERRORS}


@pytest.mark.parametrize(
    ("headers", "title"),
    [
        ({}, "Missing API Key"),
        ({"X-Api-Key": "wrong"}, "API Key invalid"),
        ({"Authorization": "Bearer wrong"}, "API Key invalid"),
        ({"Authorization": f"Basic {KEY}"}, "Missing API Key"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1.0/removebg"), ("GET", "/v1.0/account"), ("POST", "/api/improve")],
)
def test_keys(live: Live, headers: dict[str, str], title: str, method: str, path: str) -> None:
    answer = live.client.request(method, path, headers=headers)
    assert answer.status_code == 403
    assert answer.json() == {"errors": [{"title": title, "code": "auth_failed"}]}


def test_a_key_is_taken_in_either_header(live: Live) -> None:
    for headers in ({"Authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}):
        assert live.client.get("/api/account", headers=headers).status_code == 200


def test_account_has_exactly_these_keys(live: Live) -> None:
    attributes = live.client.get("/v1.0/account", headers=AUTH).json()["data"]["attributes"]
    assert set(attributes) == {"credits", "api"}
    assert set(attributes["credits"]) == {"subscription", "payg", "enterprise", "total"}
    assert set(attributes["api"]) == {"free_calls", "sizes"}
    assert attributes["api"]["sizes"] == "all"


def test_improve(live: Live) -> None:
    answers = [
        live.client.post("/v1.0/improve", files={"image_file": PHOTO}, headers=AUTH).json()["id"]
        for _ in range(2)
    ]
    assert len(set(answers)) == 2
    refused = live.client.post("/v1.0/improve", json={"tag": "x"}, headers=AUTH)
    assert refused.json()["errors"][0]["code"] == "missing_source"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1.0/nothing", 404), ("GET", "/v1.0/removebg", 405), ("GET", "/api/nothing", 404),
     ("DELETE", "/api/account", 405)],
)  # fmt: skip
def test_no_bare_framework_errors(live: Live, method: str, path: str, status: int) -> None:
    answer = live.client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["errors"][0]["code"] in ("not_found", "method_not_allowed")


def test_a_rate_limit_without_keys_counts_addresses(start: Callable[..., Live]) -> None:
    live = start(rate_limit=2, workers=1)
    statuses = [live.removebg(image_file=PHOTO).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    # the proxy on this machine is believed whom it asks for
    for address, expected in (("203.0.113.7", 200), ("2001:db8::1", 200), ("2001:db8::2", 200),
                              ("2001:db8::3", 429), ("2001:db8:0:1::1", 200),
                              ("::ffff:203.0.113.7", 200), ("203.0.113.7", 429),
                              ("::ffff:203.0.113.8", 200)):  # fmt: skip
        answer = live.removebg(image_file=PHOTO, headers={"X-Forwarded-For": address})
        assert answer.status_code == expected, address


def test_rate_limit(start: Callable[..., Live], key_file: Any) -> None:
    live = start(api_keys=str(key_file), rate_limit=4)
    two = encode(gradient(1000, 2000), "JPEG", quality=50)
    answers = [live.removebg(image_file=two) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers[:2]] == ["2", "0"]
    assert 1 <= int(answers[2].headers["Retry-After"]) <= 60
    assert answers[2].json()["errors"][0]["code"] == "rate_limit_exceeded"
