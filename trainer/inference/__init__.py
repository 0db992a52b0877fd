"""Inference for users: photos in, a table of people out, and pictures, meshes and OpenSim motions beside it."""
