"""CIELAB of sRGB colours under D65, the space in which skin colour is measured."""

import numpy as np

# IEC 61966-2-1: linear sRGB to CIE 1931 XYZ, rows X, Y, Z
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = _TO_XYZ.sum(1)  # D65, as this matrix has it: so that greys have no hue
_EDGE = 6 / 29
_SAMPLES = np.arange(256) / 255
_LINEAR = np.where(_SAMPLES <= 0.04045, _SAMPLES / 12.92, ((_SAMPLES + 0.055) / 1.055) ** 2.4).astype(np.float32)
_SHARES = (_TO_XYZ / _WHITE[:, None]).T.astype(np.float32)  # of the white's X, Y, Z


def lab_of(rgb: np.ndarray) -> np.ndarray:
    """(..., 3) float32 L* 0 to 100, a* and b*, of (..., 3) uint8 sRGB."""
    shares = _LINEAR[rgb] @ _SHARES
    x, y, z = np.moveaxis(np.where(shares > _EDGE**3, np.cbrt(shares), shares / (3 * _EDGE**2) + 4 / 29), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1).astype(np.float32)
