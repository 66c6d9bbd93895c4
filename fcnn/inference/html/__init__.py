"""A network as a page of HTML that a browser opens from the disk."""

from fcnn.inference.html.page import write_html

__all__ = ["write_html"]
