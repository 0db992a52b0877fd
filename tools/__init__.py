"""What developers run by hand; nothing at run time imports it."""
