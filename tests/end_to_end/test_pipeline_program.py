"""Ten lines that a pipeline would want to write, run as they are written: shots of a file, on a farm, into reconstruction."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import plyfile
import pycolmap
import pytest
from keepworld.camera import convert_c2w
from PIL import Image

from tests import gallery, scenes
from tests.runtime.serving import certificates
from tests.tunnel import tunnel

ROOT = Path(__file__).parents[2]
HOST = "farm"
FRAMES = 29
PROGRAM = """\
import keepworld as kw
with kw.Client("grpcs://farm:443", retries=kw.Retry(5)) as client:
    for job in kw.jobs.read("shots.jsonl"):                          # image, path, events, seed
        path = kw.paths.load(job.camera, frame="nerfstudio")         # validated before any GPU time
        with client.sessions.open(image=job.image, seed=job.seed, idempotency_key=job.id) as s:
            s.follow(path, events=job.events)
            cap = s.capture(min_consistency=0.9)
            cap.export(f"out/{job.id}", format="colmap", depth=True)     # images, poses, depth, confidence
            op = cap.start_export(f"out/{job.id}.ply", refine="3dgs-7k") # Operation: poll/wait/cancel
            print(op.wait(timeout=1800).report.psnr_roundtrip)
"""
QUICK = PROGRAM.replace(', refine="3dgs-7k"', "")  # splats are placed, and not trained


def written(folder: Path, jobs: int) -> list[np.ndarray]:
    """Write shots with a picture and a path each; gives the paths, camera to world."""
    paths, lines = [], []
    for number in range(jobs):
        places = [
            (0.1 * (k - FRAMES / 2), 0.12 * np.sin(k / 4 + number), 0.1 * np.cos(k / 5) - 0.3) for k in range(FRAMES)
        ]
        paths.append(np.stack([scenes.look(place, (0.3 * place[0], 0.2, 3)) for place in places]))
        frames = [{"transform_matrix": convert_c2w(c2w, to="nerfstudio").tolist()} for c2w in paths[-1]]
        (folder / f"way{number}.json").write_text(json.dumps({"frames": frames}))
        rows, columns = np.mgrid[:48, :64]
        picture = np.stack([4 * columns % 256, 5 * rows % 256, 40 * (columns // 8 + rows // 8 + number) % 256], -1)
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"image{number}.png")
        shot = {"id": f"shot-{number}", "image": f"image{number}.png", "camera": f"way{number}.json", "seed": number}
        lines.append(json.dumps({**shot, "events": [[0.6, gallery.RED]] if number else []}))
    (folder / "shots.jsonl").write_text("\n".join(lines))
    return paths


@pytest.fixture(
    params=[
        (QUICK, "gallery", 2),
        pytest.param((PROGRAM, "gallery", 1), marks=pytest.mark.slow),  # three minutes, nearly all of it training
        pytest.param((QUICK, "blind_gallery", 1), marks=pytest.mark.slow),  # depth is found twice, for both exports
    ],
    ids=["placed", "trained", "without depth"],
)
def ran(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[np.ndarray], list[float]]:
    """The program, run far from its server; gives its folder, its paths, and what it printed."""
    program, family, jobs = request.param
    ca = certificates.authority(tmp_path, "farm")
    pair = certificates.vouched_for(tmp_path, "server", ca, f"DNS:{HOST}")
    paths = written(tmp_path, jobs)
    (tmp_path / "program.py").write_text(program)
    here = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *(path or os.curdir for path in sys.path)])}
    cli = [sys.executable, "-m", "keepworld.cli"]
    keys = tmp_path / "server.keys"
    created = subprocess.run(
        [*cli, "keys", "create", "--keys", keys, "--tenant", "pipeline"],
        capture_output=True, text=True, check=True, env=here,
    )  # fmt: skip
    command = [*cli, "serve", "--port", "0", "--threads", "1", "--exit-with-stdin", "--log-level", "WARNING"]
    command += ["--family", f"{family.replace('_', '-')}=tests.{family}", "--keys", str(keys)]
    command += ["--tls-cert", str(pair.cert), "--tls-key", str(pair.key)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=here, cwd=tmp_path) as server:
        assert server.stdin and server.stdout
        port = int(json.loads(server.stdout.readline())["listening"].rpartition(":")[2])
        assert json.loads(server.stdout.readline())["ready"]
        with tunnel(port) as proxy:
            environment = here | {
                "KEEPWORLD_API_KEY": re.search(r"kw_\S+", created.stdout)[0],  # type: ignore[index]
                "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(ca.cert),
                "https_proxy": proxy.url,
            }
            done = subprocess.run(
                [sys.executable, "program.py"], cwd=tmp_path, env=environment, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
        server.stdin.close()
    assert done.returncode == 0, done.stderr
    assert set(proxy.asked) == {f"{HOST}:443"}
    return tmp_path, paths, [float(line) for line in done.stdout.split()]


def test_the_pipeline_program_runs_as_written(ran: tuple[Path, list[np.ndarray], list[float]]) -> None:
    folder, paths, printed = ran
    assert len(printed) == len(paths) and min(printed) > 20
    for number, path in enumerate(paths):
        out = folder / "out" / f"shot-{number}"
        model = pycolmap.Reconstruction(out / "sparse/0")
        images = sorted(model.images.values(), key=lambda image: image.name)
        assert len(images) == FRAMES and model.num_points3D() > 10_000
        c2ws = [np.vstack([image.cam_from_world().inverse().matrix(), [0, 0, 0, 1]]) for image in images]
        np.testing.assert_allclose(c2ws, path, atol=1e-9)  # what the file asked for, in COLMAP's axes
        depth = pycolmap.DepthMap()
        depth.read(out / f"stereo/depth_maps/{images[0].name}.geometric.bin")
        known = np.asarray(depth.to_array())
        known = known[known > 0]
        assert len(known) > 3000 and np.median(known) == pytest.approx(3.2, abs=0.6)  # the wall, at 3 m
        assert len(list((out / "images").iterdir())) == len(list((out / "confidence").iterdir())) == FRAMES
        splats = plyfile.PlyData.read(out.with_name(f"shot-{number}.ply"))["vertex"]
        assert len(splats) > 3000 and "f_dc_0" in splats.data.dtype.names
    assert not [path for path in (folder / "out").iterdir() if path.name.startswith(".")]
