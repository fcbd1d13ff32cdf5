"""Forms in which models come: a file a form, under the contract of `zoo.model_source`."""
