"""From a data set's files to an image store: decode, normalise, split by patient."""
