"""What is known of the lens that took a photo, and from where."""
