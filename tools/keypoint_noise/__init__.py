"""What made pipeline/image/keypoint_noise.json."""
