"""Training data: shards joined with the label rows of one generation, decoded, cropped, augmented, batched."""
