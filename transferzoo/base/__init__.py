"""Base: what every room stands on, and which knows nothing of models or images."""
