"""Gaussian splatting as the paper's formulas say it, every Gaussian at every pixel, float64: slow, and plain to check.

Source: Kerbl et al. 2023, section 4 and 6, with gsplat's conventions: 0.3 pixels squared added to the covariance, alpha at most
0.999 and left out below 1/255, a pixel finished when 1e-4 of the light is left, the projection linearised at the mean held
within 1.3 fields of view.
"""

import numpy as np
from scipy.spatial.transform import Rotation


def covariances(quats, scales):
    w, x, y, z = quats.T
    R = Rotation.from_quat(np.stack([x, y, z, w], 1)).as_matrix()
    S = np.einsum("ij,jk->ijk", scales, np.eye(3))
    return R @ S @ S.transpose(0, 2, 1) @ R.transpose(0, 2, 1)


def harmonics(directions):
    """Real spherical harmonics [N, 16] in the order and signs that splats use, from associated Legendre functions."""
    from math import factorial, pi, sqrt

    x, y, z = directions.T
    phi = np.arctan2(y, x)
    columns = []
    for degree in range(4):
        for order in range(-degree, degree + 1):
            m = abs(order)
            # P_l^m without the Condon-Shortley phase, by differentiating (z^2 - 1)^l / (2^l l!) l + m times
            p = np.polynomial.Polynomial([-1, 0, 1]) ** degree / (2**degree * factorial(degree))
            legendre = p.deriv(degree + m)(z) * (1 - z * z) ** (m / 2) if degree + m else np.ones_like(z)
            norm = sqrt((2 * degree + 1) / (4 * pi) * factorial(degree - m) / factorial(degree + m))
            angle = np.cos(m * phi) if order > 0 else np.sin(m * phi) if order < 0 else np.ones_like(phi)
            # The phase (-1)^m is what 3DGS's table has.
            columns.append((-1) ** m * (sqrt(2) if order else 1) * norm * legendre * angle)
    return np.stack(columns, 1)


def render(means, quats, scales, opacities, sh0, shN, viewmat, K, width, height):
    """image [H, W, 3], alpha [H, W], depth [H, W]."""
    means, quats, scales = (np.asarray(a, np.float64) for a in (means, quats, scales))
    opacities = np.asarray(opacities, np.float64)
    W, t = viewmat[:3, :3], viewmat[:3, 3]
    seen = means @ W.T + t
    centre = -W.T @ t
    coefficients = np.concatenate([np.asarray(sh0, np.float64)[:, None], np.asarray(shN, np.float64)], 1)
    directions = means - centre
    basis = harmonics(directions / np.linalg.norm(directions, axis=1, keepdims=True))[:, : coefficients.shape[1]]
    colours = np.maximum(np.einsum("nk,nkc->nc", basis, coefficients) + 0.5, 0)
    sigmas = covariances(quats, scales)
    v, u = np.mgrid[0:height, 0:width] + 0.5
    light, done = np.ones((height, width)), np.zeros((height, width), bool)
    image, depth = np.zeros((height, width, 3)), np.zeros((height, width))
    (fx, _, cx), (_, fy, cy), _ = K
    for i in np.argsort(seen[:, 2], kind="stable"):
        x, y, z = seen[i]
        if z < 0.01:
            continue
        margin_x, margin_y = 0.3 * 0.5 * width / fx, 0.3 * 0.5 * height / fy
        tx = z * np.clip(x / z, -(cx / fx + margin_x), (width - cx) / fx + margin_x)
        ty = z * np.clip(y / z, -(cy / fy + margin_y), (height - cy) / fy + margin_y)
        J = np.array([[fx / z, 0, -fx * tx / z**2], [0, fy / z, -fy * ty / z**2]])
        cov = J @ W @ sigmas[i] @ W.T @ J.T + 0.3 * np.eye(2)
        delta = np.stack([u - (fx * x / z + cx), v - (fy * y / z + cy)], -1)
        power = 0.5 * np.einsum("hwi,ij,hwj->hw", delta, np.linalg.inv(cov), delta)
        alpha = np.minimum(0.999, opacities[i] * np.exp(-power))
        alpha[alpha < 1 / 255] = 0
        after = light * (1 - alpha)
        done |= (alpha > 0) & (after <= 1e-4)
        share = np.where(done, 0, alpha * light)
        image += share[..., None] * colours[i]
        depth += share * z
        light = np.where(done, light, after)
    return image, 1 - light, depth
