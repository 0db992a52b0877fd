"""Light and views of real places as data: built by tools/surroundings, see PROVENANCE.md."""
