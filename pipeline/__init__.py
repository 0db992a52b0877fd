"""From shards to label generations: body, fits, shards, labels, rounds. Imports `schemas` only."""
