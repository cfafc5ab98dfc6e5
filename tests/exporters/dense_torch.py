"""The dense renderer of `dense.py` once more, in torch's float64, so that its gradients come from automatic differentiation.

It also says where it stands on a knife's edge: pixels at which some Gaussian's alpha, or the light that is left, is so near a
threshold that float32 may fall to the other side.
"""

import numpy as np
import torch

EDGE = 2e-5  # relative distance to a threshold within which float32 may decide otherwise


def rotations(quats):
    w, x, y, z = (quats / quats.norm(dim=1, keepdim=True)).unbind(1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def harmonics(d):
    """The first 16 real harmonics [N, 16] at unit directions [N, 3], as polynomials."""
    x, y, z = d.unbind(1)
    return torch.stack([
        0.28209479177387814 * torch.ones_like(x),
        -0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x,
        1.0925484305920792 * x * y, -1.0925484305920792 * y * z, 0.31539156525252005 * (2 * z * z - x * x - y * y),
        -1.0925484305920792 * x * z, 0.5462742152960396 * (x * x - y * y),
        -0.5900435899266435 * y * (3 * x * x - y * y), 2.890611442640554 * x * y * z,
        -0.4570457994644658 * y * (4 * z * z - x * x - y * y),
        0.3731763325901154 * z * (2 * z * z - 3 * x * x - 3 * y * y),
        -0.4570457994644658 * x * (4 * z * z - x * x - y * y), 1.445305721320277 * z * (x * x - y * y),
        -0.5900435899266435 * x * (x * x - 3 * y * y),
    ], 1)  # fmt: skip


def render(means, quats, scales, opacities, sh0, shN, viewmat, K, width, height, *, antialiased):
    """out [H, W, 5] of red, green, blue, alpha and depth; and the pixels [H, W] that stand on no knife's edge."""
    W, t = viewmat[:3, :3], viewmat[:3, 3]
    seen = means @ W.T + t
    coefficients = torch.cat([sh0[:, None], shN], 1)
    directions = means - torch.linalg.inv(viewmat)[:3, 3]
    basis = harmonics(directions / directions.norm(dim=1, keepdim=True))[:, : coefficients.shape[1]]
    colours = torch.clamp(torch.einsum("nk,nkc->nc", basis, coefficients) + 0.5, min=0)
    M = rotations(quats) * scales[:, None]
    sigmas = M @ M.transpose(1, 2)
    v, u = (torch.from_numpy(a) for a in np.mgrid[0:height, 0:width] + 0.5)
    light = torch.ones(height, width, dtype=torch.float64)
    done, sure = torch.zeros(height, width, dtype=torch.bool), torch.ones(height, width, dtype=torch.bool)
    out = torch.zeros(height, width, 5, dtype=torch.float64)
    (fx, _, cx), (_, fy, cy), _ = K.tolist()
    for i in np.argsort(seen[:, 2].detach().numpy(), kind="stable"):
        x, y, z = seen[i]
        if z < 0.01:
            continue
        margin_x, margin_y = 0.3 * 0.5 * width / fx, 0.3 * 0.5 * height / fy
        tx = z * torch.clamp(x / z, -(cx / fx + margin_x), (width - cx) / fx + margin_x)
        ty = z * torch.clamp(y / z, -(cy / fy + margin_y), (height - cy) / fy + margin_y)
        nil = torch.zeros_like(z)
        J = torch.stack([torch.stack([fx / z, nil, -fx * tx / z**2]), torch.stack([nil, fy / z, -fy * ty / z**2])])
        sharp = J @ W @ sigmas[i] @ W.T @ J.T
        cov = sharp + 0.3 * torch.eye(2, dtype=torch.float64)
        opacity = opacities[i]
        if antialiased:
            opacity = opacity * torch.sqrt(torch.linalg.det(sharp) / torch.linalg.det(cov))
        delta = torch.stack([u - (fx * x / z + cx), v - (fy * y / z + cy)], -1)
        power = 0.5 * torch.einsum("hwi,ij,hwj->hw", delta, torch.linalg.inv(cov), delta)
        full = opacity * torch.exp(-power)
        alpha = torch.where(full < 1 / 255, 0.0, torch.clamp(full, max=0.999))
        after = light * (1 - alpha)
        sure &= done | (
            ((255 * full - 1).abs() > EDGE) & ((full / 0.999 - 1).abs() > EDGE) & ((1e4 * after - 1).abs() > 1e-2)
        )
        done = done | ((alpha > 0) & (after <= 1e-4))
        share = torch.where(done, 0.0, alpha * light)
        values = torch.cat([colours[i], torch.ones(1, dtype=torch.float64), z[None]])
        out = out + share[..., None] * values
        light = torch.where(done, light, after)
    return out, sure.numpy()
