"""Training of surrogates, by any minimizer, from memory or from disk, resumable to the byte."""
