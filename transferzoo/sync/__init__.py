"""Sync: the inventory of what is cached, the download plan, and the upload plan."""
