"""What the shards say of the cameras is read back by those who ask."""

import numpy as np
import pytest
import simplejpeg

from pipeline.demo_set.records import with_focal_length
from pipeline.lenses.exif import focal_from_exif


def test_the_focal_length_in_the_file_is_read_back_and_the_pixels_stay() -> None:
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    plain = simplejpeg.encode_jpeg(image)
    stated = with_focal_length(plain, 35, 64, 48)
    assert focal_from_exif(plain, 64, 48) is None
    assert focal_from_exif(stated, 64, 48) == pytest.approx(35 / np.hypot(36, 24) * 80)
    np.testing.assert_array_equal(simplejpeg.decode_jpeg(stated), simplejpeg.decode_jpeg(plain))
