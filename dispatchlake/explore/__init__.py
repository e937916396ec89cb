"""The explorer: a page of pictures over the lake, in a browser on this machine."""
