"""Pillow's bicubic on uint8 RGB. Sizes are (width, height)."""

from golden import Golden
from plain.media import resize

PAIRS = [((17, 11), (16, 16)), ((1, 1), (16, 16)), ((50, 38), (48, 32)), ((5, 7), (31, 29)), ((64, 48), (16, 16)),
         ((33, 20), (33, 48)), ((33, 20), (64, 20)), ((100, 3), (16, 16)), ((2, 90), (16, 16)), ((23, 23), (23, 23)),
         ((37, 53), (13, 19)), ((2, 2), (3, 5))]


def make():
    golden = Golden("resize")
    golden.fields = {"resizes": []}
    for index, (old, new) in enumerate(PAIRS):
        # A wide spread, so that many pixels are 0 or 255 and the bicubic overshoot is clipped.
        pixels = golden.input_u8(f"image_{index}", [old[1], old[0], 3], 128.0, 90.0)
        golden.output(f"resized_{index}", resize(pixels, new))
        golden.fields["resizes"].append({"input": f"image_{index}", "size": list(new), "output": f"resized_{index}"})
    golden.save()
