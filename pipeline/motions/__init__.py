"""Recorded motions: SMPL sequences, as AMASS has them, to SKEL sequences of one shape each (docs/motions.md)."""
