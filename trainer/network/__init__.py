"""The networks: ViT backbone, transformer-decoder head, HSMR (SKEL) and the HMR2.0 baseline (SMPL)."""
