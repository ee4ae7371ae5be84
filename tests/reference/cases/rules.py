"""The spatial rule C.1 and the temporal rule C.2. Sizes are (width, height)."""

from itertools import product

from golden import Golden
from plain.media import spatial, temporal

SIZES = [(832, 480), (848, 480), (1280, 720), (512, 512), (1920, 1080), (1080, 1920), (50, 38), (1, 1), (7, 900), (900, 7),
         (8, 8), (24, 40), (40, 24), (640, 360), (853, 480), (4096, 2160), (333, 777), (239, 241), (100, 3000), (16, 16), (841, 843)]
LIMITS = [(848, 1), (848, 240), (842, 240), (842, 1), (1280, 240), (48, 1), (625, 240)]
RATES = [16.0, 15.984015984015985, 24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 60.0, 12.0, 7.5, 2.0, 120.0]
LENGTHS = [1, 4, 5, 7, 49, 82, 240, 1001]


def make():
    golden = Golden("rules")
    golden.fields["spatial_columns"] = ["width", "height", "max_size", "min_size", "new_width", "new_height"]
    golden.fields["spatial"] = [[*size, *limits, *spatial(*size, *limits)] for size, limits in product(SIZES, LIMITS)]
    runs = [(frames, fps, 16.0, 4, 1, 81, only) for frames, fps, only in product(LENGTHS, RATES, (True, False)) if only or fps == 16.0]
    runs += [(frames, fps, 2.0, 2, 0, 81, False) for frames, fps in product(LENGTHS, RATES)]
    runs += [(81, 30.0, 16.0, 4, 1, cap, True) for cap in (1, 3, 4, 5, 33, 80)] + [(300, 25.0, 10.0, 4, 1, 121, True)]
    names = ["frames", "fps", "target_fps", "factor", "add_one", "cap", "renderer_only"]
    golden.fields["temporal"] = [dict(zip(names, run)) | {"indices": temporal(*run)} for run in runs]
    golden.save()
