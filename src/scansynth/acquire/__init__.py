"""Get a data set's files into ``data/raw/<dataset>``, with a list of them and where they come from."""
