"""Diffusion models of medical scans: train, synthesise, measure, audit."""

__version__ = "0.1.0"
