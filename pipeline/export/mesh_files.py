"""Bodies as glTF (.glb) and OBJ files, written by trimesh: m, y up (`pipeline.export.upright_axes`)."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from jaxtyping import Float, Integer

MeshFormat = Literal["glb", "obj"]

SKIN_COLOR: Final = (178, 204, 240, 255)
BONE_COLOR: Final = (228, 218, 191, 255)


@dataclass(frozen=True, slots=True)
class MeshPart:
    """One surface: vertices (V, 3) m, faces (F, 3) counter-clockwise from outside, RGBA in 0..255."""

    name: str
    vertices: Float[np.ndarray, "V 3"]
    faces: Integer[np.ndarray, "F 3"]
    color: tuple[int, int, int, int]


def mesh_file(parts: list[MeshPart], format: MeshFormat) -> bytes:
    """The content of a mesh file; vertices keep their number and order. An OBJ carries shapes only, no colours."""
    import trimesh  # takes a while to import, and only meshes need it

    scene = trimesh.Scene()
    for part in parts:
        material = trimesh.visual.material.PBRMaterial(
            baseColorFactor=part.color, metallicFactor=0.0, roughnessFactor=0.8
        )
        mesh = trimesh.Trimesh(part.vertices, part.faces, process=False)
        mesh.visual = trimesh.visual.TextureVisuals(material=material)
        scene.add_geometry(mesh, node_name=part.name, geom_name=part.name)
    if format == "glb":
        return trimesh.exchange.gltf.export_glb(scene, include_normals=True)
    return str(trimesh.exchange.obj.export_obj(scene, include_color=False, include_texture=False)).encode()
