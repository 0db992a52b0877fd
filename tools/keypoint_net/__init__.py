"""The starting weights of the keypoint net: learned from made people that no demo and no benchmark shows."""
