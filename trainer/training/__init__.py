"""Training on one generation of labels: the loop of a worker, its state, held-out validation, records, Ray Train."""
