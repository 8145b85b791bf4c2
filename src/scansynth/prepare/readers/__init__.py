"""One module a kind of file: each has ``read(root, item, settings) -> Iterator[Image | Rejection]``.

One that raises RejectedError rejects its item as a whole.
"""
