"""What people use to understand a network and to find out what is wrong with it."""

from fcnn.study.summary import Row, summarize

__all__ = ["Row", "summarize"]
