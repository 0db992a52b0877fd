"""Real footage with measured 3D points: reading it, looking at it through one camera or another, and the errors."""
