"""Models: architectures, every way to name one, from a source to a classifier of [0, 1] pixels."""
