"""The networks that denoise."""
