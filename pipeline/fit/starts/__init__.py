"""Where fits begin: the mean pose, and further starts."""
