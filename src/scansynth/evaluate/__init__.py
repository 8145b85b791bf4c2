"""Measuring synthetic images: feature spaces, distances between sets of images, scores and pictures."""
