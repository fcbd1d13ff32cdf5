"""Forms in which models come: a file a form."""
