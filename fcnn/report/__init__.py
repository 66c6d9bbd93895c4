"""What a run writes: on the console, as JSON lines and TensorBoard events, as pictures and pages."""

from fcnn.report.console import Console
from fcnn.report.curves import draw_curves
from fcnn.report.page import write_page
from fcnn.report.records import Records, read_records

__all__ = ["Console", "Records", "draw_curves", "read_records", "write_page"]
