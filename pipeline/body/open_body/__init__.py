"""The open body as data: built by tools/open_body, see PROVENANCE.md."""
