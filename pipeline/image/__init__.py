"""The person's crop, the camera that looks at it, and the 2D error measured in it."""
