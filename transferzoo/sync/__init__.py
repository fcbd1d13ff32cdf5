"""Sync: what is cached, what comes from the Hub, and what goes there."""
