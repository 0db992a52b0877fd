"""The pelvis in compiled form: world rotation, spin vectors, and back to its three q (see `PelvisOrientation`)."""

import numpy as np

from pipeline.numerics.numba_cache import compiled


@compiled()
def rodrigues(x, y, z, out):
    angle = np.sqrt(x * x + y * y + z * z)
    half = angle / 2
    s = 1 - angle * angle / 6 if angle < 1e-4 else np.sin(angle) / angle
    h = 1 - half * half / 6 if half < 1e-4 else np.sin(half) / half
    c = h * h / 2
    out[0, 0], out[1, 1], out[2, 2] = 1 - c * (y * y + z * z), 1 - c * (x * x + z * z), 1 - c * (x * x + y * y)
    out[0, 1], out[1, 0] = c * x * y - s * z, c * x * y + s * z
    out[0, 2], out[2, 0] = c * x * z + s * y, c * x * z - s * y
    out[1, 2], out[2, 1] = c * y * z - s * x, c * y * z + s * x


@compiled()
def product(a, b):
    out = np.empty((3, 3), a.dtype)
    for i in range(3):
        for j in range(3):
            out[i, j] = a[i, 0] * b[0, j] + a[i, 1] * b[1, j] + a[i, 2] * b[2, j]
    return out


@compiled()
def pelvis_matrix(q, frame):
    """M Ry(q2) Rx(q1) Rz(q0) M^T: the pelvis dofs turn about +z, +x, +y."""
    turn = np.empty((3, 3, 3), frame.dtype)
    rodrigues(0.0, q[2], 0.0, turn[0])
    rodrigues(q[1], 0.0, 0.0, turn[1])
    rodrigues(0.0, 0.0, q[0], turn[2])
    return product(product(frame, product(product(turn[0], turn[1]), turn[2])), frame.T)


@compiled()
def pelvis_q(matrix, frame, q):
    r = product(product(frame.T, matrix), frame)
    cosine = np.sqrt(r[1, 1] ** 2 + r[1, 0] ** 2)
    q[1] = np.arctan2(-r[1, 2], cosine)
    if cosine < 1e-14:
        q[2], q[0] = np.arctan2(-r[2, 0], r[0, 0]), 0.0
    else:
        q[2], q[0] = np.arctan2(r[0, 2], r[2, 2]), np.arctan2(r[1, 0], r[1, 1])


@compiled()
def spin_between(to, start, out):
    """Spin vector of to @ start^T, |.| <= pi, from the largest quaternion component."""
    m = product(to, start.T)
    w, x, y, z = 1 + m[0, 0] + m[1, 1] + m[2, 2], 1 + m[0, 0] - m[1, 1] - m[2, 2], 0.0, 0.0
    y, z = 1 - m[0, 0] + m[1, 1] - m[2, 2], 1 - m[0, 0] - m[1, 1] + m[2, 2]
    a, b, c = m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
    d, e, f = m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1]
    if w >= x and w >= y and w >= z:
        q0, q1, q2, q3 = w, a, b, c
    elif x >= y and x >= z:
        q0, q1, q2, q3 = a, x, d, e
    elif y >= z:
        q0, q1, q2, q3 = b, d, y, f
    else:
        q0, q1, q2, q3 = c, e, f, z
    sign = -1.0 if q0 < 0 else 1.0
    n = np.sqrt(q1 * q1 + q2 * q2 + q3 * q3)
    half = np.arctan2(n, abs(q0))
    scale = 2 / abs(q0) if n < 1e-12 * abs(q0) else 2 * half / n
    out[0], out[1], out[2] = sign * q1 * scale, sign * q2 * scale, sign * q3 * scale
