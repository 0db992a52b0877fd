"""A refinement round on Ray: plan, process shards with actors, audit, publish."""
