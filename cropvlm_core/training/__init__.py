"""Training of croppers: the page factory, the embedded policy's network, its training."""
