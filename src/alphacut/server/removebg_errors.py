"""remove.bg's documented errors."""

from alphacut.server.refusal import Refusal

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


def refuse(code: str, *fill: object) -> Refusal:
    """Make a refusal of a documented error."""
    title, detail = (text.format(*fill) for text in ERRORS[code])
    return Refusal(400, code, title, detail)


def refuse_parameter(name: str, detail: object = "") -> Refusal:
    """Make a refusal of a parameter's value, whether that error is documented or not."""
    code = f"invalid_{name}"
    if code in ERRORS:
        return refuse(code, detail)
    return Refusal(400, code, f"Invalid value for parameter '{name}'", str(detail))
