"""A made-up data set whose truth is known: people of the open body, photographed, detected and pseudo-labelled."""

from pipeline.demo_set.demo_set import TRUTH_SCHEMA, DemoSet, make_demo_set
from pipeline.demo_set.truth_error import label_errors, mean_label_errors

__all__ = ["TRUTH_SCHEMA", "DemoSet", "label_errors", "make_demo_set", "mean_label_errors"]
