"""In a process of its own: HSMR's focal length is another one, and everything that projects by it follows."""

import sys

import numpy as np
import torch

from pipeline.image import camera

NEW = float(sys.argv[1])
camera.FOCAL = NEW  # pyrefly: ignore

from pipeline.body import load_skel  # noqa: E402
from pipeline.export.photo_camera import photo_camera  # noqa: E402
from pipeline.fit import Skelify  # noqa: E402
from pipeline.fit.objectives.skelify_config import SkelifyConfig  # noqa: E402
from pipeline.image.keypoint_error import kp2d_error  # noqa: E402
from pipeline.image.person_camera import PersonCamera  # noqa: E402
from pipeline.image.person_view import person_view  # noqa: E402
from pipeline.labelling.acceptance import measure  # noqa: E402
from pipeline.labelling.batches import LabelBatch  # noqa: E402
from pipeline.labelling.predictor import Guess  # noqa: E402
from pipeline.render.rasterizer import PinholeCamera  # noqa: E402
from schemas.person import PersonId  # noqa: E402
from tests.unseen_person import unseen_person  # noqa: E402
from trainer.network.camera_head import camera_translation  # noqa: E402

skel = load_skel(dtype=torch.float64)
q, betas = torch.zeros(1, 46, dtype=torch.float64), torch.zeros(1, 10, dtype=torch.float64)
q[:, 0] = torch.pi
cam_t = torch.tensor([[0.1, 0.2, 1.9 * NEW]], dtype=torch.float64)
points = skel.keypoints(q, betas)
seen = NEW * (points + cam_t[:, None])[..., :2] / (points + cam_t[:, None])[..., 2:]
keypoints = torch.cat([seen, torch.ones_like(seen[..., :1])], -1)

torch.testing.assert_close(camera.project(points, cam_t), seen)
torch.testing.assert_close(camera.solve_camera(points, keypoints), cam_t, atol=1e-3, rtol=1e-4)
assert float(measure(skel, q, betas, keypoints).kp2d_error) < 1e-6
for objective in ("robust", "hsmr"):
    skelify = Skelify(skel, SkelifyConfig(objective=objective))  # type: ignore[arg-type]
    problem = skelify.problem(keypoints, q, betas, cam_t)
    in_torch = skelify.linearise(problem.start, problem.terms, 0.02)
    compiled = skelify.evaluate(problem.start, problem.terms)
    assert float(problem.terms.focal) == NEW
    assert torch.isfinite(in_torch.cost).all()
    assert torch.isfinite(compiled.cost).all()
    found = skelify.fit(keypoints, q, betas, cam_t)
    place = skel.keypoints(found.q, found.betas) + found.cam_t[:, None]
    again = kp2d_error(NEW * place[..., :2] / place[..., 2:], keypoints)
    torch.testing.assert_close(found.kp2d_error, again)
person = unseen_person(PersonId("a", "0", "k", 0), (0, 0), 2.0)
label = LabelBatch.of([person.id])
assert person_view(person).focal == NEW
assert label.known_focal.tolist() == [NEW]
assert PersonCamera.of_label(None, np.zeros(3)).focal == NEW
q, betas, place = (np.zeros(width, np.float32) for width in (46, 10, 3))
assert Guess(q, betas, place, q, betas).focal == NEW
assert PinholeCamera.of_crop(np.zeros(2), 2.0, 1, 1).focal == 2 * NEW
assert photo_camera(10, 20).focal_px == 20 * NEW
assert abs(float(camera_translation(torch.tensor([[1.0, 0.0, 0.0]]))[0, 2]) - 2 * NEW) < 1e-4
print("everything follows")
