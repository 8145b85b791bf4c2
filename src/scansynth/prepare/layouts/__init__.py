"""One module a layout: how files and labels lie in a data set's folder.

Each has ``read_listing(root, entries, dataset, key) -> Listing``: the files of the inventory, joined with what the data
set's tables say of them.
"""
