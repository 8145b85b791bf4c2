"""Phantoms: scans computed from nothing, for training and testing without a download."""
