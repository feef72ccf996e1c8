"""Prompts: an image in its frame, points in it, and which of four masks is meant."""

import dataclasses

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from alphacut import Remover
from alphacut.errors import OptionError
from alphacut.models import nets
from alphacut.models.weights import find_model
from alphacut.pipeline.prompt import (
    choose_mask,
    merge_saliency,
    place_mask,
    prompt_mask,
    to_frame,
    to_prompt,
)
from alphacut.pipeline.select import Places
from alphacut.runtimes.prompted import PromptedRuntime
from alphacut.runtimes.pytorch import TorchDecoder, TorchRuntime
from pictures import FakeRuntime, make_photo

Array = NDArray[np.float32]
NONE = np.zeros((0, 2), np.float32), np.zeros(0, np.float32)


def test_the_frame_is_the_authors() -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    batch, frame = to_frame(image)
    assert frame == (683, 1024)  # 682.67, half up
    assert batch.shape == (1, 3, 1024, 1024)
    assert not batch[0, :, 683:].any()  # padded after the normalisation
    small = PIL.Image.fromarray(image).resize((1024, 683), PIL.Image.Resampling.BILINEAR)
    mean, std = np.array((123.675, 116.28, 103.53)), np.array((58.395, 57.12, 57.375))
    expected = ((np.asarray(small, np.float64) - mean) / std).transpose(2, 0, 1)
    np.testing.assert_allclose(batch[0, :, :683], expected, atol=1e-5)
    deep, _ = to_frame(image.astype(np.uint16) * 257)
    np.testing.assert_array_equal(deep, batch)


def test_points_and_a_box_are_scaled_into_the_frame() -> None:
    places = Places((10, 20, 30, 50), keep=((30, 20),), drop=((6, 8),))
    points, labels = to_prompt(places, (40, 60), (683, 1024))
    assert labels.tolist() == [1, 0, 2, 3]
    factors = np.array((1024 / 60, 683 / 40))
    expected = np.array(((30, 20), (6, 8), (20, 10), (50, 30))) * factors
    np.testing.assert_allclose(points, expected, rtol=1e-6)
    _, labels = to_prompt(Places(keep=((1, 1),)), (40, 60), (683, 1024))
    assert labels.tolist() == [1, -1]  # nowhere: there is no box


def masks_of(*boxes: tuple[int, int, int, int]) -> Array:
    masks = np.full((4, 256, 256), -10, np.float32)
    for mask, (top, left, bottom, right) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = 10
    return masks


WHOLE, LEFT, SMALL, RIGHT = (
    (0, 0, 256, 256),
    (0, 0, 256, 100),
    (90, 40, 110, 60),
    (0, 150, 256, 256),
)


def test_one_point_takes_the_best_scored_of_three() -> None:
    masks = masks_of(WHOLE, LEFT, SMALL, RIGHT)
    scores = np.array((0.99, 0.5, 0.8, 0.9), np.float32)
    at = np.array([[200, 400]], np.float32), np.ones(1, np.float32)  # 50, 100 on the mask
    chosen = choose_mask(masks, scores, *at, boxed=False)
    np.testing.assert_array_equal(chosen, masks[2])  # the fourth does not hold the point


def test_several_points_take_the_mask_that_fits_them_all() -> None:
    masks = masks_of(WHOLE, LEFT, SMALL, RIGHT)
    scores = np.array((0.99, 0.5, 0.8, 0.9), np.float32)
    points = np.array([[200, 400], [200, 40], [800, 400]], np.float32)
    chosen = choose_mask(masks, scores, points, np.array((1, 1, 0), np.float32), boxed=False)
    np.testing.assert_array_equal(chosen, masks[1])


def test_a_box_alone_takes_the_first() -> None:
    masks = masks_of(WHOLE, LEFT, SMALL, RIGHT)
    scores = np.array((0.1, 0.5, 0.8, 0.9), np.float32)
    np.testing.assert_array_equal(choose_mask(masks, scores, *NONE, boxed=True), masks[0])


def test_the_padding_is_cut_from_the_mask() -> None:
    masks = masks_of(SMALL, (0, 0, 128, 128), SMALL, SMALL)
    scores = np.array((0, 1, 0, 0), np.float32)
    image = np.zeros((50, 100, 3), np.uint8)
    mask = prompt_mask(
        image, Places(keep=((20, 20),)), lambda batch, points, labels: (masks, scores)
    )
    assert mask.shape == (512, 1024)
    assert mask[:500, :500].min() > 0.99  # half of the frame's width, all of the picture's height
    assert mask[:, 530:].max() < 0.01


def test_a_masks_box_has_room_and_stays_inside() -> None:
    mask = np.zeros((512, 1024), np.float32)
    mask[100:300, 200:400] = 1
    assert place_mask(mask, (512, 1024), None) == (94, 194, 306, 406)
    assert place_mask(mask, (256, 512), (60, 0, 256, 150)) == (60, 97, 153, 150)
    top, left, bottom, right = place_mask(np.zeros((8, 8), np.float32), (20, 20), None)
    assert top < bottom
    assert left < right


def test_where_both_agree_the_soft_answer_is_kept() -> None:
    saliency = np.array([[0.9, 0.7, 0.2, 0.8, 0.1]], np.float32)
    mask = np.array([[1.0, 1.0, 1.0, 0.0, 0.0]], np.float32)
    merged = merge_saliency(saliency, mask)
    np.testing.assert_allclose(merged, [[0.9, 0.7, 1.0, 0.0, 0.1]])


class Answers:
    """A decoder whose four masks are one box, in pixels of the frame, and that counts."""

    def __init__(self, *box: int) -> None:
        self.box, self.asked = box, 0

    def __call__(self, embedding: Array, points: Array, labels: Array) -> tuple[Array, Array]:
        self.asked += 1
        top, left, bottom, right = (side // 4 for side in self.box)
        return masks_of(*[(top, left, bottom, right)] * 4), np.ones(4, np.float32)


def prompted(decoder: Answers) -> Remover:
    encoder = FakeRuntime()
    network = PromptedRuntime(FakeRuntime(), encoder, decoder, "fake")
    return Remover("mobile-sam", network=network)


def test_a_remover_asks_and_keeps_inside_the_mask() -> None:
    photo = make_photo(96, 128)  # a disc in the middle; the frame is 8 times as large
    decoder = Answers(0, 0, 768, 512)
    cutout = prompted(decoder)(photo, points="40% 50%", matting="none")
    assert decoder.asked == 1
    assert cutout.box is not None
    assert cutout.box[2] <= 68  # the mask ends in the middle, at 64
    assert cutout.alpha[48, 50] > 0.9
    assert "prompt" in cutout.milliseconds


def test_a_remover_without_a_prompt_says_what_to_do() -> None:
    remover = prompted(Answers(0, 0, 8, 8))
    with pytest.raises(OptionError, match="answers points and boxes"):
        remover(make_photo())
    with pytest.raises(OptionError, match="needs a point to keep, or a box"):
        remover(make_photo(), points="50% 50% drop")


def test_a_mask_of_nothing_is_no_subject() -> None:
    decoder = Answers(0, 0, 0, 0)
    with pytest.warns(match="no foreground"):
        cutout = prompted(decoder)(make_photo(), box="0 0 100% 100%", matting="none")
    assert cutout.empty


@pytest.mark.slow
def test_the_real_network_with_random_weights_answers_in_a_remover() -> None:
    network = nets.build("mobile_sam").eval()
    runtime = PromptedRuntime(
        FakeRuntime(), TorchRuntime(network, device="cpu"), TorchDecoder(network), "cpu"
    )
    spec = dataclasses.replace(find_model("mobile-sam"), name="mine")
    cutout = Remover(spec, network=runtime)(make_photo(), box="10% 10% 90% 90%", points="50% 50%")
    assert cutout.alpha.shape == (48, 64)
    assert np.isfinite(cutout.alpha).all()
