"""Results for people who do not use this project: OpenSim motions, meshes, the camera of the whole photo."""
