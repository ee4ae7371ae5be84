"""M-RoPE positions of mixed streams, from get_rope_index. Grids are in patches (t, h, w), before the 2x2 merge."""

from golden import Golden
from plain.planner_lm import positions

IMAGE, WIDE, VIDEO, TARGET = (1, 4, 6), (1, 2, 10), (3, 4, 4), (2, 6, 4)
STREAMS = {
    "text": [("text", 9)],
    "image_target": [("text", 4), ("image", IMAGE), ("text", 1)],
    "video_target": [("text", 3), ("video", TARGET)],
    "long_video": [("text", 2), ("video", (12, 2, 4)), ("text", 5)],
    "video_then_target": [("text", 6), ("video", VIDEO), ("text", 11), ("video", TARGET), ("text", 1)],
    "three_images": [("text", 5), ("image", IMAGE), ("text", 2), ("image", WIDE), ("text", 2), ("image", (1, 2, 2)), ("text", 7), ("image", IMAGE), ("text", 1)],
    "two_videos_two_images": [("text", 5), ("video", VIDEO), ("text", 2), ("video", (5, 2, 4)), ("text", 2), ("image", IMAGE), ("text", 2), ("image", WIDE),
                              ("text", 8), ("video", TARGET), ("text", 1)],
    "single_tokens": [("text", 1), ("image", (1, 2, 2)), ("text", 1), ("video", (1, 2, 2)), ("text", 1)],
}


def make():
    golden = Golden("mrope")
    golden.fields = {"tokens_per_second": 2, "second_per_grid": 1.0, "streams": {}}
    for name, stream in STREAMS.items():
        golden.fields["streams"][name] = {"stream": stream, "positions": positions(stream)[:, 0].tolist()}
    golden.save()
