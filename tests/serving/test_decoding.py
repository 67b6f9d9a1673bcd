"""Memory of concurrent decodes is bounded, and nothing waits for ever."""

import asyncio
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from dermray.datasets.decode import decode, png, square
from dermray.serving.classification.decoding import Decoder, PixelBudget
from tests.serving.classifiers import picture

FIFTY = 50_000_000  # pixels
# A process of its own: this one has had larger peaks.
TWELVE_AT_ONCE = f"""
import asyncio, io, psutil, threading, time, resource
from PIL import Image
from dermray.serving.classification.decoding import Decoder
buffer = io.BytesIO()
Image.new("RGB", (10_000, 5_000), "tan").save(buffer, "PNG", compress_level=1)
image, me = buffer.getvalue(), psutil.Process()
decoder = Decoder(32, 4)
asyncio.run(decoder.decode([image], {FIFTY}))
alone, before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, me.memory_info().rss
uploads = asyncio.run(decoder.decode([image] * 24, {FIFTY}))
assert all(upload.pixels.shape == (3, 32, 32) for upload in uploads)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((peak - alone) >> 10, (me.memory_info().rss - before) >> 20)
"""


def test_each_image_is_decoded_or_told_what_is_wrong() -> None:
    images = [png(picture(seed)) for seed in range(40)]
    images[5], images[33] = b"", images[33][:100]
    times = list[float]()
    uploads = asyncio.run(Decoder(32, 3, times.append).decode(images, 10_000))
    assert len(times) == 40 and all(seconds > 0 for seconds in times)
    for number, (image, upload) in enumerate(zip(images, uploads, strict=True)):
        if number in (5, 33):
            assert upload.pixels is None and upload.reason in ("empty file", "truncated or damaged image")
        else:
            assert upload.pixels is not None and np.array_equal(upload.pixels, square(decode(image), 32))


def test_too_many_pixels_are_told_by_the_header_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    image = png(Image.new("RGB", (200, 100)))
    monkeypatch.setattr("dermray.serving.classification.decoding.decode", lambda *_: pytest.fail("it was decoded"))
    [upload] = asyncio.run(Decoder(32, 1).decode([image], 19_999))
    assert upload.pixels is None and upload.reason == "200 x 100 px: more than 19999 pixels"


def test_no_more_pixels_than_the_budget_are_at_work() -> None:
    budget, most, now, guard = PixelBudget(100), 0, 0, threading.Lock()

    def work(pixels: int) -> None:
        nonlocal most, now
        with budget.room(pixels):
            with guard:
                now += pixels
                most = max(most, now)
            time.sleep(0.002)
            with guard:
                now -= pixels

    threads = [threading.Thread(target=work, args=(size,)) for size in (60, 30, 100, 10, 70, 50, 50) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads) and now == 0 < most <= 100
    with budget.room(1000):
        assert budget.taken == 100, "one of more pixels than there are is alone"
    with pytest.raises(KeyError), budget.room(40):
        raise KeyError
    assert budget.taken == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_fifty_megapixels_many_times_at_once_take_the_memory_of_one() -> None:
    said = subprocess.run(
        [sys.executable, "-c", TWELVE_AT_ONCE], capture_output=True, text=True, timeout=280, check=False
    )
    assert said.returncode == 0, said.stderr
    more, kept = map(int, said.stdout.split())
    assert more < 120, f"MiB above the peak of one; a picture is 191 MiB: {said.stdout}"
    assert kept < 100, f"MiB that stay, of 24 pictures: {said.stdout}"
