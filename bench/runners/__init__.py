"""One module for each way to land a listing; each is run as a process of its own, in its own environment."""
