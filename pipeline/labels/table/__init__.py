"""The Iceberg table of generations: catalog, snapshots and their references, tags, the storage's clock."""
