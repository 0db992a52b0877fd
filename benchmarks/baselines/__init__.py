"""What we are measured against, each as its authors do it."""
