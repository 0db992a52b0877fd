"""Evaluation on the field's benchmarks by the protocols of HSMR and HMR2.0 (docs/evaluation.md).

Files of others in (`hmr2_file`, `moyo_file`), crops as the originals cut them (`crops`), bodies of the networks
(`output_bodies`), errors (`scores`, `violations`), one row per person (`rows`), then tables (`summary`, `tables`).
"""
